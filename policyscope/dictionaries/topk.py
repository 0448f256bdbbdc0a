"""TopK: the k features that are called for most are active, and no others.

    z = TopK(relu(W_e x + b_e))        loss = mean ‖ŷ − y‖² + revival · AuxK

Sparsity is the choice k itself, so no penalty shrinks the codes. (Makhzani & Frey 2013, arXiv
1312.5663; Gao et al. 2024, arXiv 2406.04093.)
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from policyscope.dictionaries.dictionary import DICTIONARIES, LAST, Loss, Stage
from policyscope.dictionaries.schedule import Schedule
from policyscope.dictionaries.selection import top_per_step
from policyscope.dictionaries.sparse import Sparse, explain_codes
from policyscope.errors import InvalidInput


@DICTIONARIES.register("topk")
@dataclass(eq=False)
class TopK(Sparse):
    """Exactly k features per step (fewer where fewer are called for at all)."""

    # Twice the rate of other kinds: 6 to 11 % less unexplained on the agents of
    # benchmarks/dead_features.py.
    schedule: ClassVar[Schedule] = Sparse.schedule.changed(learning_rate=2e-3)

    width: int = field(metadata={"help": "number of features"})
    k: int = field(default=32, metadata={"help": "features active per step"})
    revival: float = field(
        default=1.0, metadata={"help": "weight of the loss that revives dead features; 0 is off"}
    )

    def initialize(self, generator: torch.Generator) -> None:
        check_k(self.k, self.width)
        super().initialize(generator)

    def activate(self, pre: Float[Tensor, "... feature"]) -> Float[Tensor, "... feature"]:
        return top_k(pre, self.k)

    def loss(
        self,
        x: Float[Tensor, "step unit"],
        y: Float[Tensor, "step target"],
        stage: Stage = LAST,
    ) -> Loss:
        codes = top_per_step(self.reader(x), self.k)
        return explain_codes(self, codes, y, stage, self.revival)


def top_k(pre: Float[Tensor, "... feature"], k: int) -> Float[Tensor, "... feature"]:
    """The `k` largest readings of each step where they are positive; zero elsewhere."""
    values, places = pre.topk(k, dim=-1, sorted=False)
    return torch.zeros_like(pre).scatter(-1, places, values.relu())


def check_k(k: int, width: int) -> None:
    """Raises InvalidInput where k features cannot be active."""
    if not 1 <= k <= width:
        raise InvalidInput(
            f"k is {k} and the width {width}; k features of the width can be active: give k from "
            f"1 to {width}."
        )
