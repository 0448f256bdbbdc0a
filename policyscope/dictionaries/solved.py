"""What kinds share that are found at once, without a gradient: the baselines to beat.

    z = the k largest |pre(x)|        ŷ = Σ_j z_j d_j + b_d

Codes may be negative where the method has them so. As autoencoders they write along what they read,
random directions apart; as transcoders the decoder is the least squares from the codes to y. They
are what Cunningham et al. 2023 (arXiv 2309.08600) compare dictionaries with.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from policyscope.dictionaries.dictionary import LAST, Loss, Stage
from policyscope.dictionaries.schedule import Schedule
from policyscope.dictionaries.sparse import Sparse
from policyscope.dictionaries.spectrum import CHUNK
from policyscope.errors import InvalidInput

# Directions of the codes with less than this share of the largest variance are rounding.
TOLERANCE = 1e-12
K_HELP = "features kept per step, those with the largest |code|; 0 keeps all"


class Solved(Sparse):
    """Affine readings, of which the `k` largest may be kept, and no gradient."""

    schedule: ClassVar[Schedule] = Schedule(epochs=1, seeds=1)

    k: int
    note: str = ""
    """What is to be known about the solution, such as that the method stopped early."""

    def initialize(self, generator: torch.Generator) -> None:
        check_kept(self.k, self.width)
        super().initialize(generator)

    def activate(self, pre: Float[Tensor, "... feature"]) -> Float[Tensor, "... feature"]:
        if self.k == 0:
            return pre
        places = pre.abs().topk(self.k, dim=-1, sorted=False).indices
        return torch.zeros_like(pre).scatter(-1, places, pre.gather(-1, places))

    def loss(
        self,
        x: Float[Tensor, "step unit"],
        y: Float[Tensor, "step target"],
        stage: Stage = LAST,
    ) -> Loss:
        codes = self.encode(x)
        reconstruction = self.decode(codes)
        mse = (reconstruction - y).square().sum(-1).mean()
        return Loss(mse, {"mse": mse}, reconstruction, (codes != 0).any(0).detach())

    def read(self, encoder: Float[Tensor, "feature unit"], mean: Float[Tensor, " unit"]) -> None:
        """Reads along `encoder`, about `mean`."""
        self.encoder.copy_(encoder)
        self.encoder_bias.copy_(-(encoder.double() @ mean.double()))

    def write(self, x: Float[Tensor, "step unit"], y: Float[Tensor, "step target"]) -> None:
        """Writes the least squares from the codes of `x` to `y`."""
        decoder, bias = least_squares(self.encode, x, y)
        self.decoder.copy_(decoder)
        self.decoder_bias.copy_(bias)


def is_same(x: Float[Tensor, "step unit"], y: Float[Tensor, "step target"]) -> bool:
    """Whether what is read is what is written: an autoencoder."""
    return x.shape == y.shape and (x is y or torch.equal(x, y))


def least_squares(
    encode: Callable[[Tensor], Tensor],
    x: Float[Tensor, "step unit"],
    y: Float[Tensor, "step target"],
) -> tuple[Float[Tensor, "feature target"], Float[Tensor, " target"]]:
    """The decoder and its bias with the smallest squared error; of several, the smallest.

    In float64, a chunk of the codes at a time.
    """
    first = encode(x[:CHUNK]).double()
    shift, target_shift = first.mean(0), y[:CHUNK].double().mean(0)
    features, targets = len(shift), y.shape[1]
    gram = first.new_zeros(features, features)
    cross = first.new_zeros(features, targets)
    total, target_total = torch.zeros_like(shift), torch.zeros_like(target_shift)
    for rows, target_rows in zip(x.split(CHUNK), y.split(CHUNK), strict=True):
        codes, target = encode(rows).double() - shift, target_rows.double() - target_shift
        gram.addmm_(codes.T, codes)
        cross.addmm_(codes.T, target)
        total += codes.sum(0)
        target_total += target.sum(0)
    mean, target_mean = total / len(x), target_total / len(x)
    gram -= torch.outer(total, mean)
    cross -= torch.outer(total, target_mean)
    decoder = torch.linalg.pinv(gram, hermitian=True, rtol=TOLERANCE) @ cross
    bias = target_shift + target_mean - (shift + mean) @ decoder
    return decoder.float(), bias.float()


def check_kept(k: int, width: int) -> None:
    """Raises InvalidInput where k features cannot be kept."""
    if not 0 <= k <= width:
        raise InvalidInput(
            f"k is {k} and the width {width}; give k from 1 to {width}, or 0 to keep all."
        )


def check_width(what: str, width: int, rank: int, x: Float[Tensor, "step unit"]) -> None:
    """Raises InvalidInput where there are not as many directions as are asked for."""
    if width > rank:
        raise InvalidInput(
            f"{what} of width {width}: the {x.shape[1]} units vary along {rank} directions only, "
            f"over {len(x):,} steps. Give a width of at most {rank}."
        )


@contextmanager
def kept_warnings() -> Iterator[list[str]]:
    """Keeps scikit-learn's warnings that it stopped before it converged; others pass."""
    from sklearn.exceptions import ConvergenceWarning

    kept: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        yield kept
    for one in caught:
        if issubclass(one.category, ConvergenceWarning):
            kept.append(str(one.message))
        else:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
