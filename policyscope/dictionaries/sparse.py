"""What sparse dictionaries share: an affine encoder, an activation, decoder rows of unit norm.

    pre = W_e x + b_e        z = activate(pre)        ŷ = Σ_j z_j d_j + b_d,  ‖d_j‖ = 1

Kinds differ in `activate` and in how the loss asks for sparsity. Fitted on centred activations, so
the biases start at zero and mean "the mean" (a decoder bias that starts at zero on raw activations
leaves most features dead; research on several agents and Gao et al. 2024, arXiv 2406.04093, A.1).
"""

from abc import abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from policyscope.dictionaries.codes import Codes, DenseCodes, Reader
from policyscope.dictionaries.dictionary import Dictionary, Loss, Stage
from policyscope.dictionaries.revival import auxiliary_loss
from policyscope.dictionaries.scaling import Scaling
from policyscope.dictionaries.schedule import Schedule
from policyscope.dictionaries.turn import Turn


class Sparse(Dictionary):
    """The common part of sparse kinds. Codes are in units of the activation that is written."""

    schedule: ClassVar[Schedule] = Schedule(
        epochs=20, batch_size=1024, warm_up=0.05, decay=0.2, clip=1.0, scale=True, seeds=3
    )

    def initialize(self, generator: torch.Generator) -> None:
        decoder = unit_rows(torch.randn(self.width, self.d_out, generator=generator))
        # An autoencoder starts tied: a feature looks for what it writes.
        encoder = (
            decoder.clone()
            if self.d_in == self.d_out
            else unit_rows(torch.randn(self.width, self.d_in, generator=generator))
        )
        self.encoder: nn.Parameter = nn.Parameter(encoder)
        self.encoder_bias: nn.Parameter = nn.Parameter(torch.zeros(self.width))
        self.decoder: nn.Parameter = nn.Parameter(decoder)
        self.decoder_bias: nn.Parameter = nn.Parameter(torch.zeros(self.d_out))

    def pre(self, x: Float[Tensor, "... unit"]) -> Float[Tensor, "... feature"]:
        """How strongly each feature is called for, before the activation decides."""
        return nn.functional.linear(x, self.encoder, self.encoder_bias)

    def reader(self, x: Float[Tensor, "step unit"]) -> Reader:
        """What makes `pre` of a batch, for who needs no more of it than what is active."""
        return Reader(x, self.encoder, self.encoder_bias)

    @abstractmethod
    def activate(self, pre: Float[Tensor, "... feature"]) -> Float[Tensor, "... feature"]:
        """The codes, by the rule of inference: each step by itself."""

    def encode(self, x: Float[Tensor, "... unit"]) -> Float[Tensor, "... feature"]:
        return self.activate(self.pre(x))

    def decode(self, z: Float[Tensor, "... feature"]) -> Float[Tensor, "... target"]:
        return z @ self.decoder + self.decoder_bias

    def directions(self) -> Float[Tensor, "feature target"]:
        return self.decoder.detach()

    @torch.no_grad()
    def before_step(self) -> None:
        """Takes out of the gradient what would only change the norm of a direction."""
        gradient = self.decoder.grad
        if gradient is not None:
            along = torch.linalg.vecdot(gradient, self.decoder)[:, None]
            gradient.addcmul_(along, self.decoder, value=-1)

    @torch.no_grad()
    def after_step(self) -> None:
        self.decoder.div_(self.decoder.norm(dim=-1, keepdim=True).clamp(min=1e-8))

    @torch.no_grad()
    def turn(self, turn: Turn) -> None:
        # Directions have unit norm in the turned coordinates only: codes that compete stay as they
        # are.
        self.encoder.copy_(turn.reading(self.encoder))
        self.decoder.copy_(turn.writing(self.decoder))
        self.decoder_bias.copy_(turn.writing(self.decoder_bias))

    @torch.no_grad()
    def rescale(self, scaling: Scaling) -> None:
        # Codes grow by y_scale, so that directions keep unit norm.
        self.encoder.mul_(scaling.y_scale / scaling.x_scale)
        self.encoder_bias.mul_(scaling.y_scale).sub_(self.encoder @ scaling.x_mean)
        self.decoder_bias.mul_(scaling.y_scale).add_(scaling.y_mean)


def explain(
    dictionary: Sparse,
    pre: Float[Tensor, "step feature"],
    codes: Float[Tensor, "step feature"],
    y: Float[Tensor, "step target"],
    stage: Stage,
    revival: float,
    past: Float[Tensor, "step target"] | None = None,
) -> Loss:
    """As `explain_codes`, of codes that are a matrix, made of the readings `pre`."""
    return explain_codes(dictionary, DenseCodes(codes, pre), y, stage, revival, past)


def explain_codes(
    dictionary: Sparse,
    codes: Codes,
    y: Float[Tensor, "step target"],
    stage: Stage,
    revival: float,
    past: Float[Tensor, "step target"] | None = None,
) -> Loss:
    """The loss of kinds whose sparsity is chosen: mean ‖ŷ − y‖² + `revival` · AuxK.

    `codes` are those of training; `past` is what reaches the output without them.
    """
    reconstruction = codes.decode(dictionary.decoder) + dictionary.decoder_bias
    if past is not None:
        reconstruction = reconstruction + past
    # The error in one operation: with temporaries it is a good part of the cost of a step.
    mse = nn.functional.mse_loss(reconstruction, y, reduction="sum") / len(y)
    # A weight of zero is no work.
    dead = stage.dead if revival else None
    revived = auxiliary_loss(codes, dead, y, reconstruction, dictionary.decoder)
    total = mse + revival * revived
    return Loss(total, {"mse": mse, "revival": revived}, reconstruction, codes.fired())


def unit_rows(rows: Float[Tensor, "row entry"]) -> Float[Tensor, "row entry"]:
    """The rows at unit norm."""
    return rows / rows.norm(dim=-1, keepdim=True)
