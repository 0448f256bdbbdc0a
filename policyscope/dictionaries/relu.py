"""The ReLU dictionary with an L1 penalty: the sparse transcoder of the multiscale CartPole study.

    c = relu(W_e x + b_e)      ŷ = W_d c + b_d      loss = mean over steps of ‖ŷ − y‖² + λ‖c‖₁

with no constraint on the decoder and torch's default initialization, as the source has it. As an
autoencoder it is the one of Bricken et al. 2023 without the tied bias and the unit norm.
"""

import math
from dataclasses import dataclass, field
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import skip_init

from policyscope.dictionaries.dictionary import DICTIONARIES, LAST, Dictionary, Loss, Stage
from policyscope.dictionaries.turn import Turn
from policyscope.errors import InvalidInput


@DICTIONARIES.register("relu")
@dataclass(eq=False)
class ReLU(Dictionary):
    """Features are the positive parts of affine readings; an L1 penalty makes them sparse."""

    width: int = field(metadata={"help": "number of features"})
    penalty: float = field(default=1e-5, metadata={"help": "weight λ of the L1 norm of the codes"})

    def initialize(self, generator: torch.Generator) -> None:
        if not (math.isfinite(self.penalty) and self.penalty >= 0):
            raise InvalidInput(f"penalty is {self.penalty}; give a number of 0 or more, as 1e-5.")
        self.encoder: nn.Sequential = nn.Sequential(
            default_linear(self.d_in, self.width, generator), nn.ReLU()
        )
        self.decoder: nn.Linear = default_linear(self.width, self.d_out, generator)

    def encode(self, x: Float[Tensor, "... unit"]) -> Float[Tensor, "... feature"]:
        return self.encoder(x)

    def decode(self, z: Float[Tensor, "... feature"]) -> Float[Tensor, "... unit"]:
        return self.decoder(z)

    def directions(self) -> Float[Tensor, "feature unit"]:
        return self.decoder.weight.detach().T

    @torch.no_grad()
    def turn(self, turn: Turn) -> None:
        reading = cast(nn.Linear, self.encoder[0]).weight
        reading.copy_(turn.reading(reading))
        self.decoder.weight.copy_(turn.writing(self.decoder.weight.T).T)
        self.decoder.bias.copy_(turn.writing(self.decoder.bias))

    def loss(
        self,
        x: Float[Tensor, "step unit"],
        y: Float[Tensor, "step target"],
        stage: Stage = LAST,
    ) -> Loss:
        codes = self.encode(x)
        reconstruction = self.decode(codes)
        mse = (reconstruction - y).square().sum(-1).mean()
        l1 = codes.abs().sum(-1).mean()
        total = mse + self.penalty * l1
        return Loss(total, {"mse": mse, "l1": l1}, reconstruction, (codes > 0).any(0).detach())


def default_linear(d_in: int, d_out: int, generator: torch.Generator) -> nn.Linear:
    """`nn.Linear(d_in, d_out)` as torch draws it by default, but from `generator`."""
    layer = cast(nn.Linear, skip_init(nn.Linear, d_in, d_out))
    nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
    bound = 1 / math.sqrt(d_in)
    nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
    return layer
