"""Bilinear: features that read products of two affine readings, as agents' own layers do.

    pre = (W x + b) · (V x + c)        z = TopK(relu(pre))
    loss = mean ‖ŷ − y‖² + revival · AuxK

A feature is a quadratic form of the input, which can be taken apart by its eigenvectors. (Bilinear
layers: Pearce et al. 2024, arXiv 2410.08417, section 2; here as the encoder of a TopK dictionary.)
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from policyscope.dictionaries.dictionary import DICTIONARIES, LAST, Loss, Stage
from policyscope.dictionaries.scaling import Scaling
from policyscope.dictionaries.sparse import Sparse, explain
from policyscope.dictionaries.topk import check_k, top_k
from policyscope.dictionaries.turn import Turn


@DICTIONARIES.register("bilinear")
@dataclass(eq=False)
class Bilinear(Sparse):
    """Exactly k features per step, each the product of two readings."""

    width: int = field(metadata={"help": "number of features"})
    k: int = field(default=32, metadata={"help": "features active per step"})
    revival: float = field(
        default=1.0, metadata={"help": "weight of the loss that revives dead features; 0 is off"}
    )

    def initialize(self, generator: torch.Generator) -> None:
        check_k(self.k, self.width)
        super().initialize(generator)
        # The second reading starts as one: a TopK dictionary that learns where to be more.
        self.second: nn.Parameter = nn.Parameter(torch.zeros(self.width, self.d_in))
        self.second_bias: nn.Parameter = nn.Parameter(torch.ones(self.width))

    def pre(self, x: Float[Tensor, "... unit"]) -> Float[Tensor, "... feature"]:
        return super().pre(x) * nn.functional.linear(x, self.second, self.second_bias)

    def activate(self, pre: Float[Tensor, "... feature"]) -> Float[Tensor, "... feature"]:
        return top_k(pre, self.k)

    def loss(
        self,
        x: Float[Tensor, "step unit"],
        y: Float[Tensor, "step target"],
        stage: Stage = LAST,
    ) -> Loss:
        pre = self.pre(x)
        return explain(self, pre, self.activate(pre), y, stage, self.revival)

    @torch.no_grad()
    def turn(self, turn: Turn) -> None:
        super().turn(turn)
        self.second.copy_(turn.reading(self.second))

    @torch.no_grad()
    def rescale(self, scaling: Scaling) -> None:
        super().rescale(scaling)
        # The first reading has grown by y_scale, and so has the product.
        self.second.div_(scaling.x_scale)
        self.second_bias.sub_(self.second @ scaling.x_mean)
