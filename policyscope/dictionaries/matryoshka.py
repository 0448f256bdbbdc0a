"""Matryoshka: nested dictionaries in one; the first features explain on their own.

    loss = mean over prefixes p of ‖ŷ_p − y‖² + revival · AuxK        ŷ_p = Σ_{j < p} z_j d_j + b_d

with codes chosen as in BatchTopK. Early features stay general, because later, more special ones
cannot take over parts of them. (Bussmann, Nabeshima, Karvonen & Nanda 2025, arXiv 2503.17547.)
"""

from dataclasses import dataclass, field, replace
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from policyscope.dictionaries.dictionary import DICTIONARIES, LAST, Loss, Stage
from policyscope.dictionaries.sparse import explain_codes
from policyscope.dictionaries.threshold import Thresholded
from policyscope.errors import InvalidInput


@DICTIONARIES.register("matryoshka")
@dataclass(eq=False)
class Matryoshka(Thresholded):
    """On average k features per step, the most general ones first."""

    width: int = field(metadata={"help": "number of features"})
    k: int = field(default=32, metadata={"help": "features active per step on average"})
    levels: int = field(default=3, metadata={"help": "number of nested dictionaries"})
    growth: int = field(
        default=4, metadata={"help": "how many times wider each of them is than the one before"}
    )
    revival: float = field(
        default=1.0, metadata={"help": "weight of the loss that revives dead features; 0 is off"}
    )

    def initialize(self, generator: torch.Generator) -> None:
        if self.levels < 1 or self.growth < 2:
            raise InvalidInput(
                f"levels is {self.levels} and growth {self.growth}; give at least 1 level, each "
                "at least 2 times as wide as the one before."
            )
        super().initialize(generator)

    @property
    def prefixes(self) -> tuple[int, ...]:
        """The widths of the nested dictionaries, rising; the last is the whole."""
        widths = (self.width // self.growth**level for level in reversed(range(self.levels)))
        return tuple(sorted({max(1, width) for width in widths}))

    def loss(
        self,
        x: Float[Tensor, "step unit"],
        y: Float[Tensor, "step target"],
        stage: Stage = LAST,
    ) -> Loss:
        codes = self.select(x)
        whole = explain_codes(self, codes, y, stage, self.revival)
        errors = [whole.parts["mse"]]
        error = y - self.decoder_bias
        for start, end in pairwise((0, *self.prefixes[:-1])):
            error = error - codes.within(start, end).decode(self.decoder[start:end])
            errors.append(error.square().sum(-1).mean())
        nested = torch.stack(errors).mean()
        total = nested + self.revival * whole.parts["revival"]
        return replace(whole, total=total, parts={**whole.parts, "nested": nested})
