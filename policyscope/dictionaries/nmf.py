"""Non-negative matrix factorization: activations as sums of parts that are only ever added.

    z = argmin over z ≥ 0 of ‖x − z H‖²        autoencoder: ŷ = z H

H ≥ 0 is found by scikit-learn (Lee and Seung 1999, Nature 401, 788–791; of AlphaZero's activations:
McGrath et al. 2022, arXiv 2111.09259). The codes of a step are found anew by a fixed number of
accelerated projected gradient steps (FISTA, Beck and Teboulle 2009), each step of the agent by
itself; gradients pass through them.
"""

from dataclasses import dataclass, field
from typing import Any, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from policyscope.dictionaries.dictionary import DICTIONARIES, Dictionary
from policyscope.dictionaries.scaling import Scaling
from policyscope.dictionaries.solved import K_HELP, Solved, check_kept, is_same, kept_warnings
from policyscope.dictionaries.sparse import unit_rows
from policyscope.dictionaries.turn import Turn
from policyscope.errors import InvalidInput

# Of the samples, spread evenly, this many make the parts: the time is in proportion.
FITTED_STEPS = 16_384


@DICTIONARIES.register("nmf")
@dataclass(eq=False)
class NMF(Solved):
    """Non-negative parts of non-negative activations."""

    width: int = field(metadata={"help": "number of parts"})
    k: int = field(default=0, metadata={"help": K_HELP})
    iterations: int = field(default=200, metadata={"help": "steps at most that find the parts"})
    readings: int = field(default=100, metadata={"help": "gradient steps that find a code"})

    def initialize(self, generator: torch.Generator) -> None:
        check_kept(self.k, self.width)
        for name in ("iterations", "readings"):
            if getattr(self, name) < 1:
                raise InvalidInput(f"{name} is {getattr(self, name)}; expected at least 1.")
        parts = unit_rows(torch.rand(self.width, self.d_in, generator=generator))
        decoder = (
            parts.clone()
            if self.d_in == self.d_out
            else unit_rows(torch.randn(self.width, self.d_out, generator=generator))
        )
        self.components: nn.Parameter = nn.Parameter(parts)
        self.decoder: nn.Parameter = nn.Parameter(decoder)
        self.decoder_bias: nn.Parameter = nn.Parameter(torch.zeros(self.d_out))

    def encode(self, x: Float[Tensor, "... unit"]) -> Float[Tensor, "... feature"]:
        codes = self.pre(x)
        if self.k == 0:
            return codes
        # Those that are kept are found anew: they stand for the others as well as they can.
        return self.pre(x, self.activate(codes) > 0)

    def pre(
        self, x: Float[Tensor, "... unit"], among: Bool[Tensor, "... feature"] | None = None
    ) -> Float[Tensor, "... feature"]:
        """The non-negative codes that explain `x` best, zero where `among` is False."""
        overlap = self.components @ self.components.T
        # No eigenvalue is larger than the largest sum of a row.
        rate = 1 / overlap.sum(1).max().clamp(min=1e-12)
        drive = x @ self.components.T
        codes = ahead = torch.zeros_like(drive)
        momentum = 1.0
        for _ in range(self.readings):
            before, codes = codes, (ahead + rate * (drive - ahead @ overlap)).relu()
            codes = codes if among is None else codes * among
            after = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
            ahead = codes + (momentum - 1) / after * (codes - before)
            momentum = after
        return codes

    def solve(
        self,
        x: Float[Tensor, "step unit"],
        y: Float[Tensor, "step target"],
        generator: torch.Generator,
    ) -> bool:
        check_not_negative(x)
        self.components.copy_(unit_rows_or_none(self.find_parts(x, generator)))
        if is_same(x, y):
            self.decoder.copy_(self.components)
        else:
            self.write(x, y)
        return True

    def find_parts(
        self, x: Float[Tensor, "step unit"], generator: torch.Generator
    ) -> Float[Tensor, "feature unit"]:
        """The parts of which samples of `x` are sums, of any norm."""
        from sklearn.decomposition import NMF as Factorization

        count = min(len(x), FITTED_STEPS)
        samples = x[torch.arange(count, device=x.device) * len(x) // count].cpu()
        # Singular vectors are a good start, but there are only as many as there are units.
        start = "nndsvda" if self.width <= min(samples.shape) else "random"
        with kept_warnings() as stopped:
            found = cast(Any, Factorization)(
                n_components=self.width,
                init=start,
                max_iter=self.iterations,
                random_state=int(torch.randint(2**31 - 1, (), generator=generator)),
            ).fit(samples.numpy())
        if stopped:
            self.note = (
                f"NMF had not settled after {self.iterations} steps; its parts may still change. "
                "Give more iterations, or fewer parts."
            )
        return torch.from_numpy(found.components_).float().to(x.device)

    def turn(self, turn: Turn) -> None:
        # Turned activations are not non-negative.
        Dictionary.turn(self, turn)

    def rescale(self, scaling: Scaling) -> None:
        # Centred activations are not non-negative.
        Dictionary.rescale(self, scaling)


def check_not_negative(x: Float[Tensor, "step unit"]) -> None:
    """Raises InvalidInput, which names the most negative unit, where a sum of parts cannot be."""
    lowest, units = x.min(0).values.min(0)
    if lowest < 0:
        raise InvalidInput(
            f"Unit {int(units)} goes down to {float(lowest):.3g}, but NMF needs activations that "
            "are never negative. Read a site after a ReLU, or fit another kind."
        )


def unit_rows_or_none(rows: Float[Tensor, "row entry"]) -> Float[Tensor, "row entry"]:
    """The rows at unit norm; rows of zeros stay."""
    return rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-12)
