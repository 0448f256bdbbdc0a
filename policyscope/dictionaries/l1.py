"""L1: positive readings whose sum is penalized.

    z = relu(W_e x + b_e)        loss = mean ‖ŷ − y‖² + penalty · ‖z‖₁,  ‖d_j‖ = 1

The penalty rises from zero while features form. It also makes codes smaller than they should be,
by penalty / 2 where directions are orthogonal, which kinds without it do not. (Bricken et al.
2023, "Towards Monosemanticity", section "Sparse Autoencoder Setup"; the ramp: Templeton et al.
2024, "Scaling Monosemanticity", section "SAE Training".)
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from policyscope.dictionaries.dictionary import DICTIONARIES, LAST, Loss, Stage
from policyscope.dictionaries.revival import strongest
from policyscope.dictionaries.schedule import Schedule
from policyscope.dictionaries.sparse import Sparse, explain
from policyscope.errors import InvalidInput

# How far a lifted feature's strongest reading is above zero; readings have a spread of about one.
LIFT = 0.01


@DICTIONARIES.register("l1")
@dataclass(eq=False)
class L1(Sparse):
    """As many features per step as are worth their penalty."""

    # A penalty takes more steps to bring features to zero than agents' recordings have at 1e-3.
    schedule: ClassVar[Schedule] = replace(Sparse.schedule, learning_rate=4e-3, dead_after=0.01)

    width: int = field(metadata={"help": "number of features"})
    penalty: float = field(
        default=1.0,
        metadata={
            "help": "weight λ of the L1 norm of the codes, of activations scaled to spread 1"
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
        self._strongest: Float[Tensor, " feature"] | None = None

    def activate(self, pre: Float[Tensor, "... feature"]) -> Float[Tensor, "... feature"]:
        return pre.relu()

    def loss(
        self,
        x: Float[Tensor, "step unit"],
        y: Float[Tensor, "step target"],
        stage: Stage = LAST,
    ) -> Loss:
        pre = self.pre(x)
        codes = self.activate(pre)
        self._strongest = strongest(pre, stage.dead if self.revival else None)
        loss = explain(self, pre, codes, y, stage, revival=0.0)
        l1 = codes.sum(-1).mean()
        total = loss.total + self.penalty * ramped(stage.progress, self.ramp) * l1
        return replace(loss, total=total, parts={"mse": loss.parts["mse"], "l1": l1})

    @torch.no_grad()
    def after_step(self) -> None:
        super().after_step()
        if self._strongest is not None:
            self.encoder_bias.add_((LIFT - self._strongest).relu())


def ramped(progress: float, share: float) -> float:
    """How much of a penalty counts that rises from zero over a first `share` of the fit."""
    return min(1.0, progress / share) if share > 0 else 1.0


def check_penalty(penalty: float, ramp: float) -> None:
    """Raises InvalidInput where a penalty would reward, or never be in force."""
    if not 0 <= penalty < float("inf"):
        raise InvalidInput(f"penalty is {penalty}; give a number of 0 or more, as 1.")
    if not 0 <= ramp <= 1:
        raise InvalidInput(f"ramp is {ramp}; give a share of the fit, from 0 to 1, as 0.1.")
