"""One threshold for all features, for kinds that choose the active ones over a whole batch.

A batch is no unit at inference: there, features above one threshold are active, so that a step
alone has the codes it has in a batch. Found after the fit such that k are active on average, as
Bussmann et al. 2024, arXiv 2412.06410, section 3, but from many samples instead of a moving mean,
which lags behind in runs of the size that agents give.
"""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from policyscope.dictionaries.codes import Codes
from policyscope.dictionaries.scaling import Scaling
from policyscope.dictionaries.selection import top_of_batch
from policyscope.dictionaries.sparse import Sparse
from policyscope.dictionaries.topk import check_k

# Rows whose readings are held at once, and how much more active than the average such a part may
# be before the threshold is off.
PART, MARGIN = 4096, 4


class Thresholded(Sparse):
    """The common part of kinds that are trained by `top_of_batch` and then read by a threshold."""

    k: int
    threshold: Float[Tensor, ""]
    """Readings above it are active. While fitting it is where the last batch was cut."""

    def initialize(self, generator: torch.Generator) -> None:
        check_k(self.k, self.width)
        super().initialize(generator)
        self.register_buffer("threshold", torch.zeros(()))

    def activate(self, pre: Float[Tensor, "... feature"]) -> Float[Tensor, "... feature"]:
        return torch.where(pre > self.threshold, pre, 0.0)

    def select(self, x: Float[Tensor, "step unit"]) -> Codes:
        """The codes by the rule of training; the threshold follows, for who looks meanwhile."""
        codes = top_of_batch(self.reader(x), self.k)
        self.threshold.copy_(codes.least())
        return codes

    @torch.no_grad()
    def finish(self, x: Float[Tensor, "step unit"], y: Float[Tensor, "step target"]) -> None:
        self.threshold.copy_(bound_of(map(self.pre, x.split(PART)), self.k).relu())

    @torch.no_grad()
    def rescale(self, scaling: Scaling) -> None:
        super().rescale(scaling)
        self.threshold.mul_(scaling.y_scale)


def bound_of(parts: Iterable[Float[Tensor, "_ feature"]], k: int) -> Float[Tensor, ""]:
    """Above which `k` readings of a step are on average; they are given part by part."""
    largest, steps = [], 0
    for readings in parts:
        largest.append(top_values(readings, MARGIN * k * len(readings)))
        steps += len(readings)
    # The largest of those that are not to be active.
    return top_values(torch.cat(largest), k * steps + 1).min()


def top_values(values: Float[Tensor, "..."], count: int) -> Float[Tensor, " kept"]:
    """The `count` largest, or all where there are no more."""
    values = values.flatten()
    return values.topk(min(count, len(values)), sorted=False).values
