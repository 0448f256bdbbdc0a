"""Independent component analysis: directions along which activations are least Gaussian.

    z = W (x − mean)        autoencoder: ŷ = z @ A + mean, the reconstruction of PCA of its width

FastICA (Hyvärinen and Oja 2000, Neural Networks 13, 411–430; scikit-learn) turns the leading
principal components until they are as independent as it can. The sign is the one of the long tail.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import torch
from jaxtyping import Float
from torch import Tensor

from policyscope.dictionaries.dictionary import DICTIONARIES
from policyscope.dictionaries.schedule import Schedule
from policyscope.dictionaries.solved import K_HELP, Solved, check_width, is_same, kept_warnings
from policyscope.dictionaries.spectrum import Covariance


@DICTIONARIES.register("ica")
@dataclass(eq=False)
class ICA(Solved):
    """Independent directions, by FastICA."""

    schedule: ClassVar[Schedule] = Schedule(epochs=1, seeds=3)

    width: int = field(metadata={"help": "number of components"})
    k: int = field(default=0, metadata={"help": K_HELP})
    iterations: int = field(default=200, metadata={"help": "steps of FastICA at most"})

    def solve(
        self,
        x: Float[Tensor, "step unit"],
        y: Float[Tensor, "step target"],
        generator: torch.Generator,
    ) -> bool:
        covariance = Covariance.of(x)
        variances, axes = covariance.axes()
        check_width("ICA", self.width, covariance.rank(variances), x)
        deviations, axes = variances[: self.width].sqrt(), axes[: self.width]
        whitening = (axes / deviations[:, None]).float()
        white = (x - covariance.mean.float()) @ whitening.T
        turn = self.independent(white, generator)
        # Each feature writes a direction of unit norm, towards the long tail of its code.
        mixing = turn @ (axes * deviations[:, None])
        lengths = mixing.norm(dim=1, keepdim=True)
        tail = (white.double() @ turn.T).pow(3).mean(0).sign()[:, None]
        sign = torch.where(tail == 0, 1.0, tail)
        self.read(sign * lengths * (turn @ whitening.double()), covariance.mean)
        if is_same(x, y):
            self.decoder.copy_(sign * mixing / lengths)
            self.decoder_bias.copy_(covariance.mean)
        else:
            self.write(x, y)
        return True

    def independent(
        self, white: Float[Tensor, "step component"], generator: torch.Generator
    ) -> Float[Tensor, "feature component"]:
        """The rotation of white components that makes them independent."""
        from sklearn.decomposition import FastICA

        start = torch.randn(self.width, self.width, generator=generator)
        with kept_warnings() as stopped:
            found = cast(Any, FastICA)(
                whiten=False, w_init=start.numpy(), max_iter=self.iterations
            ).fit(white.cpu().numpy())
        if stopped:
            self.note = (
                f"FastICA had not settled after {self.iterations} steps; components may still "
                "turn. Give more iterations, or fewer components."
            )
        return torch.from_numpy(found.components_).double().to(white.device)
