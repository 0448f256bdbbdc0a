"""Skip transcoder: features explain what an affine map of the input does not.

    ŷ = Σ_j z_j d_j + b_d + W_skip x        z = TopK(relu(W_e x + b_e))

The linear part of a layer costs no features, so those that are there stand for what the layer
computes. (Paulo, Shabalin & Belrose 2025, arXiv 2501.18823, section 3.) Of no use where the site
that is read is also written: there the affine map alone is perfect.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from policyscope.dictionaries.dictionary import DICTIONARIES, LAST, Loss, Stage
from policyscope.dictionaries.scaling import Scaling
from policyscope.dictionaries.selection import top_per_step
from policyscope.dictionaries.sparse import Sparse, explain_codes
from policyscope.dictionaries.topk import check_k, top_k
from policyscope.dictionaries.turn import Turn


@DICTIONARIES.register("skip")
@dataclass(eq=False)
class Skip(Sparse):
    """Exactly k features per step, and an affine map past them."""

    width: int = field(metadata={"help": "number of features"})
    k: int = field(default=32, metadata={"help": "features active per step"})
    revival: float = field(
        default=1.0, metadata={"help": "weight of the loss that revives dead features; 0 is off"}
    )

    def initialize(self, generator: torch.Generator) -> None:
        check_k(self.k, self.width)
        super().initialize(generator)
        self.skip: nn.Parameter = nn.Parameter(torch.zeros(self.d_out, self.d_in))

    def activate(self, pre: Float[Tensor, "... feature"]) -> Float[Tensor, "... feature"]:
        return top_k(pre, self.k)

    def bypass(self, x: Float[Tensor, "... unit"]) -> Float[Tensor, "... target"]:
        return nn.functional.linear(x, self.skip)

    def loss(
        self,
        x: Float[Tensor, "step unit"],
        y: Float[Tensor, "step target"],
        stage: Stage = LAST,
    ) -> Loss:
        codes = top_per_step(self.reader(x), self.k)
        return explain_codes(self, codes, y, stage, self.revival, past=self.bypass(x))

    @torch.no_grad()
    def turn(self, turn: Turn) -> None:
        super().turn(turn)
        self.skip.copy_(turn.writing(turn.reading(self.skip).T).T)

    @torch.no_grad()
    def rescale(self, scaling: Scaling) -> None:
        super().rescale(scaling)
        self.skip.mul_(scaling.y_scale / scaling.x_scale)
        self.decoder_bias.sub_(self.skip @ scaling.x_mean)
