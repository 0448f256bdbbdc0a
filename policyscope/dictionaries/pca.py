"""Principal component analysis: the directions along which activations vary most.

    z = V (x − mean)        autoencoder: ŷ = z @ V + mean

No linear reconstruction of its width is better. Features are ordered by their variance, and codes
have signs. (Pearson 1901; Hotelling 1933.)
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from policyscope.dictionaries.dictionary import DICTIONARIES
from policyscope.dictionaries.solved import K_HELP, Solved, check_width, is_same
from policyscope.dictionaries.spectrum import Covariance


@DICTIONARIES.register("pca")
@dataclass(eq=False)
class PCA(Solved):
    """Orthogonal directions, the one with the largest variance first."""

    width: int = field(metadata={"help": "number of components"})
    k: int = field(default=0, metadata={"help": K_HELP})

    def solve(
        self,
        x: Float[Tensor, "step unit"],
        y: Float[Tensor, "step target"],
        generator: torch.Generator,
    ) -> bool:
        covariance = Covariance.of(x)
        variances, axes = covariance.axes()
        check_width("PCA", self.width, covariance.rank(variances), x)
        self.read(signed(axes[: self.width]), covariance.mean)
        if is_same(x, y):
            self.decoder.copy_(self.encoder)
            self.decoder_bias.copy_(covariance.mean)
        else:
            self.write(x, y)
        return True


def signed(rows: Float[Tensor, "row entry"]) -> Float[Tensor, "row entry"]:
    """The rows with the sign that makes their largest entry positive: either is as good."""
    largest = rows.gather(1, rows.abs().argmax(1, keepdim=True))
    return rows * largest.sign()
