"""JumpReLU: readings that count once they pass a threshold, one for each feature.

    z = pre · H(pre − θ)        pre = W_e x + b_e
    loss = mean ‖ŷ − y‖² + penalty · units · (L0 / k − 1)² + revival · AuxK

H has no gradient where there is one, so θ gets that of a ramp of width ε (`bandwidth`) in its
place: −1/ε within ε/2 of the threshold. L0 is the mean number of active features, so that k is what
comes out, and no penalty has to be searched for. (Rajamanoharan et al. 2024, arXiv 2407.14435,
sections 3 and 4, and for the squared miss of a target the discussion; on fitting it also Anthropic,
"Dictionary Learning Optimization Techniques", Circuits Updates, January 2025.)

Fits of agents are short, about a thousand steps: thresholds are parameters themselves and not by
their logarithm, which would hardly move, and they begin where k features would be active were
readings normal. A threshold above all readings of its feature has no gradient either, and a dead
feature's is brought down to the strongest of them.
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from policyscope.dictionaries.dictionary import DICTIONARIES, LAST, Loss, Stage
from policyscope.dictionaries.l1 import check_penalty, ramped
from policyscope.dictionaries.revival import strongest
from policyscope.dictionaries.scaling import Scaling
from policyscope.dictionaries.schedule import Schedule
from policyscope.dictionaries.sparse import Sparse, explain
from policyscope.dictionaries.threshold import PART, bound_of
from policyscope.dictionaries.topk import check_k
from policyscope.errors import InvalidInput

# How far below the strongest reading of a dead feature its threshold is put.
BELOW = 0.99


@DICTIONARIES.register("jumprelu")
@dataclass(eq=False)
class JumpReLU(Sparse):
    """On average k features per step, each by a threshold of its own."""

    schedule: ClassVar[Schedule] = replace(Sparse.schedule, learning_rate=4e-3, dead_after=0.01)

    width: int = field(metadata={"help": "number of features"})
    k: int = field(default=32, metadata={"help": "features active per step on average"})
    penalty: float = field(
        default=1.0,
        metadata={"help": "weight of missing k: 1 counts a double k as all there is to explain"},
    )
    ramp: float = field(
        default=0.1, metadata={"help": "share of the fit over which the penalty rises from zero"}
    )
    bandwidth: float = field(
        default=1.0,
        metadata={"help": "readings so near a threshold move it; their spread is about 1"},
    )
    revival: float = field(
        default=1.0, metadata={"help": "weight of the loss that revives dead features; 0 is off"}
    )

    def initialize(self, generator: torch.Generator) -> None:
        check_k(self.k, self.width)
        check_penalty(self.penalty, self.ramp)
        if not 0 < self.bandwidth < float("inf"):
            raise InvalidInput(f"bandwidth is {self.bandwidth}; give a positive number, as 1.")
        super().initialize(generator)
        share = torch.tensor(1 - self.k / self.width, dtype=torch.float64)
        start = float(torch.special.ndtri(share).clamp(min=0))
        self.threshold: nn.Parameter = nn.Parameter(torch.full((self.width,), start))
        self._strongest: Float[Tensor, " feature"] | None = None

    def activate(self, pre: Float[Tensor, "... feature"]) -> Float[Tensor, "... feature"]:
        return torch.where(pre > self.threshold, pre, 0.0)

    def loss(
        self,
        x: Float[Tensor, "step unit"],
        y: Float[Tensor, "step target"],
        stage: Stage = LAST,
    ) -> Loss:
        pre = self.pre(x)
        above = passed(pre, self.threshold, self.bandwidth)
        self._strongest = strongest(pre, stage.dead if self.revival else None)
        loss = explain(self, pre, pre * above, y, stage, self.revival)
        l0 = above.sum(-1).mean()
        missed = y.shape[1] * (l0 / self.k - 1).square()
        total = loss.total + self.penalty * ramped(stage.progress, self.ramp) * missed
        return replace(loss, total=total, parts={**loss.parts, "missed": missed})

    @torch.no_grad()
    def after_step(self) -> None:
        super().after_step()
        if self._strongest is not None:
            self.threshold.copy_(torch.minimum(self.threshold, BELOW * self._strongest))
        self.threshold.clamp_(min=0)

    @torch.no_grad()
    def finish(self, x: Float[Tensor, "step unit"], y: Float[Tensor, "step target"]) -> None:
        # What the penalty missed k by is little; one shift of all thresholds takes it out.
        shift = bound_of((self.pre(part) - self.threshold for part in x.split(PART)), self.k)
        self.threshold.add_(shift).clamp_(min=0)

    @torch.no_grad()
    def rescale(self, scaling: Scaling) -> None:
        super().rescale(scaling)
        self.threshold.mul_(scaling.y_scale)


def passed(
    pre: Float[Tensor, "step feature"], threshold: Float[Tensor, " feature"], bandwidth: float
) -> Float[Tensor, "step feature"]:
    """1 where a reading is above its threshold, else 0; for the gradient of `threshold` a ramp.

    `pre` gets no gradient from it.
    """
    ramp = ((pre.detach() - threshold) / bandwidth + 0.5).clamp(0, 1)
    # Zero, and yet with a gradient.
    return (pre > threshold).to(pre.dtype) + (ramp - ramp.detach())
