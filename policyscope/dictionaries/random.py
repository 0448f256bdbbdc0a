"""Random directions: what the width and the activation alone achieve, with nothing learned.

    z = relu(W (x − mean)), rows of W random of unit norm        decoder: least squares to y

Only the decoder knows the data (random features, Rahimi and Recht 2008). A kind that does no better
has learned no encoder.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from policyscope.dictionaries.dictionary import DICTIONARIES
from policyscope.dictionaries.schedule import Schedule
from policyscope.dictionaries.solved import K_HELP, Solved
from policyscope.dictionaries.sparse import unit_rows


@DICTIONARIES.register("random")
@dataclass(eq=False)
class Random(Solved):
    """Positive parts of readings along random directions."""

    schedule: ClassVar[Schedule] = Schedule(epochs=1, seeds=3)

    width: int = field(metadata={"help": "number of features"})
    k: int = field(default=0, metadata={"help": K_HELP})

    def pre(self, x: Float[Tensor, "... unit"]) -> Float[Tensor, "... feature"]:
        return super().pre(x).relu()

    def solve(
        self,
        x: Float[Tensor, "step unit"],
        y: Float[Tensor, "step target"],
        generator: torch.Generator,
    ) -> bool:
        directions = unit_rows(torch.randn(self.width, self.d_in, generator=generator))
        self.read(directions.to(x.device), x.double().mean(0))
        self.write(x, y)
        return True
