"""Gated: whether a feature is active, and how much, are asked apart.

    gate π = W_g x + b_g        magnitude m = relu(exp(r) · W_g x + b_m)        z = m where π > 0
    loss = mean ‖ŷ − y‖² + penalty · ‖relu(π)‖₁ + mean ‖ŷ(relu(π)) − y‖²

In the last term the decoder is held still, so that it only teaches the gate. The penalty does not
reach the magnitudes, so that codes do not shrink. (Rajamanoharan et al. 2024, arXiv 2404.16014,
section 3.2.)
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from policyscope.dictionaries.dictionary import DICTIONARIES, LAST, Loss, Stage
from policyscope.dictionaries.l1 import L1, LIFT, check_penalty, ramped
from policyscope.dictionaries.revival import strongest
from policyscope.dictionaries.scaling import Scaling
from policyscope.dictionaries.schedule import Schedule
from policyscope.dictionaries.sparse import Sparse, explain


@DICTIONARIES.register("gated")
@dataclass(eq=False)
class Gated(Sparse):
    """As many features per step as are worth their penalty, at their full size."""

    schedule: ClassVar[Schedule] = L1.schedule

    width: int = field(metadata={"help": "number of features"})
    penalty: float = field(
        default=3.0,
        metadata={
            "help": "weight λ of the L1 norm of the gates, of activations scaled to spread 1"
        },
    )
    ramp: float = field(
        default=0.1, metadata={"help": "share of the fit over which the penalty rises from zero"}
    )
    revival: bool = field(
        default=True,
        metadata={"help": "whether dead features are lifted until their strongest reading counts"},
    )

    def initialize(self, generator: torch.Generator) -> None:
        check_penalty(self.penalty, self.ramp)
        super().initialize(generator)
        self.log_gain: nn.Parameter = nn.Parameter(torch.zeros(self.width))
        self.magnitude_bias: nn.Parameter = nn.Parameter(torch.zeros(self.width))
        self._strongest: Float[Tensor, " feature"] | None = None

    def activate(self, pre: Float[Tensor, "... feature"]) -> Float[Tensor, "... feature"]:
        # The gate's reading without its bias; what it learns here is no business of that bias.
        read = pre - self.encoder_bias
        magnitude = torch.relu(read * self.log_gain.exp() + self.magnitude_bias)
        return torch.where(pre > 0, magnitude, 0.0)

    def loss(
        self,
        x: Float[Tensor, "step unit"],
        y: Float[Tensor, "step target"],
        stage: Stage = LAST,
    ) -> Loss:
        pre = self.pre(x)
        self._strongest = strongest(pre, stage.dead if self.revival else None)
        loss = explain(self, pre, self.activate(pre), y, stage, revival=0.0)
        gates = pre.relu()
        l1 = gates.sum(-1).mean()
        guess = gates @ self.decoder.detach() + self.decoder_bias.detach()
        gate_mse = (guess - y).square().sum(-1).mean()
        penalty = self.penalty * ramped(stage.progress, self.ramp)
        return replace(
            loss,
            total=loss.total + gate_mse + penalty * l1,
            parts={"mse": loss.parts["mse"], "gate_mse": gate_mse, "l1": l1},
        )

    @torch.no_grad()
    def after_step(self) -> None:
        super().after_step()
        if self._strongest is not None:
            self.encoder_bias.add_((LIFT - self._strongest).relu())

    @torch.no_grad()
    def rescale(self, scaling: Scaling) -> None:
        super().rescale(scaling)
        read_at_zero = self.encoder @ scaling.x_mean
        self.magnitude_bias.mul_(scaling.y_scale).sub_(read_at_zero * self.log_gain.exp())
