"""Cross-layer transcoder: a feature read once writes to several sites, each in its own direction.

    z = TopK(relu(W_e x + b_e))        ŷ_s = Σ_j z_j d_sj + b_s  for each written site s
    loss = Σ_s mean ‖ŷ_s − y_s‖² + revival · AuxK,  Σ_s ‖d_sj‖² = 1

What several layers pass on is one feature instead of a copy in each. Each site is fitted in units
of its own spread, which can differ by orders, and it is in those that directions have unit norm.
(Lindsey et al. 2024, "Sparse Crosscoders for Cross-Layer Features and Model Diffing"; Ameisen,
Lindsey et al. 2025, "Circuit Tracing", section "Building an Interpretable Replacement Model", there
with JumpReLU.)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from policyscope.address import Site
from policyscope.dictionaries.dictionary import DICTIONARIES, LAST, Dictionary, Loss, Stage
from policyscope.dictionaries.scaling import Scaling
from policyscope.dictionaries.selection import top_per_step
from policyscope.dictionaries.sparse import Sparse, explain_codes
from policyscope.dictionaries.topk import check_k, top_k
from policyscope.errors import InvalidInput


@DICTIONARIES.register("cross-layer")
@dataclass(eq=False)
class CrossLayer(Sparse):
    """Exactly k features per step, which write to all sites of `writes_all`.

    `y` is the units of those sites one after another, `splits` of them each; set both before the
    fit. `writes` is the first of them. Without them it is a transcoder of one site.
    """

    width: int = field(metadata={"help": "number of features"})
    k: int = field(default=32, metadata={"help": "features active per step"})
    revival: float = field(
        default=1.0, metadata={"help": "weight of the loss that revives dead features; 0 is off"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.writes_all: tuple[Site, ...] = ()
        self.splits: tuple[int, ...] = ()
        self._parts: tuple[Part, ...] = ()

    def initialize(self, generator: torch.Generator) -> None:
        check_k(self.k, self.width)
        self.check_splits()
        super().initialize(generator)

    def check_splits(self) -> None:
        """Raises InvalidInput where sites and units do not fit each other."""
        if len(self.writes_all) != len(self.splits) or min(self.splits, default=1) < 1:
            raise InvalidInput(
                f"{len(self.writes_all)} written sites and units {list(self.splits)}; give each "
                "site its number of units."
            )
        if self.splits and sum(self.splits) != self.d_out:
            raise InvalidInput(
                f"The written sites have {list(self.splits)} units, {sum(self.splits)} together; "
                f"y has {self.d_out}. y is the units of all of them one after another."
            )
        if self.reads in self.writes_all:
            raise InvalidInput(
                f"A cross-layer dictionary cannot write '{self.reads}', which it reads: what it "
                "says at the other sites would change with its own edit."
            )

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

    def scaling(self, x: Float[Tensor, "step unit"], y: Float[Tensor, "step target"]) -> Scaling:
        return Scaling.of_sites(x, y, self.splits) if self.splits else Scaling.of(x, y)

    @torch.no_grad()
    def rescale(self, scaling: Scaling) -> None:
        super().rescale(scaling)
        if scaling.y_relative is not None:
            self.decoder.mul_(scaling.y_relative)
            bias = (self.decoder_bias - scaling.y_mean) * scaling.y_relative
            self.decoder_bias.copy_(bias + scaling.y_mean)

    # --- several sites ------------------------------------------------------------------------

    @property
    def parts(self) -> tuple[Dictionary, ...]:
        """What it writes at each site, as dictionaries that share its features."""
        if not self.writes_all:
            return (self,)
        self.check_splits()
        # The same objects each time: edits of one part are made together.
        if tuple(part.d_out for part in self._parts) != self.splits:
            ends = torch.tensor(self.splits).cumsum(0).tolist()
            sizes = zip(self.splits, ends, strict=True)
            self._parts = tuple(Part(self, end - size, end) for size, end in sizes)
        for part, site in zip(self._parts, self.writes_all, strict=True):
            part.name, part.reads, part.writes = self.name, self.reads, site
        return self._parts

    def unbuilt(self) -> Dictionary:
        copy = cast(CrossLayer, super().unbuilt())
        copy.writes_all, copy.splits = self.writes_all, self.splits
        return copy

    def facts(self) -> dict[str, Any]:
        sites = [str(site) for site in self.writes_all]
        return {**super().facts(), "writes_all": sites, "splits": list(self.splits)}

    def place(self, facts: Mapping[str, Any]) -> None:
        super().place(facts)
        self.writes_all = tuple(Site.parse(site) for site in facts["writes_all"])
        self.splits = tuple(facts["splits"])


class Part(Dictionary):
    """What a cross-layer dictionary writes at one of its sites; it shares all of its parameters."""

    def __init__(self, whole: CrossLayer, start: int, end: int) -> None:
        nn.Module.__init__(self)
        self.whole = whole
        self.start, self.end = start, end
        self.width, self.d_in, self.d_out = whole.width, whole.d_in, end - start

    def encode(self, x: Float[Tensor, "... unit"]) -> Float[Tensor, "... feature"]:
        return self.whole.encode(x)

    def decode(self, z: Float[Tensor, "... feature"]) -> Float[Tensor, "... target"]:
        decoder, bias = self.whole.decoder, self.whole.decoder_bias
        return z @ decoder[:, self.start : self.end] + bias[self.start : self.end]

    def directions(self) -> Float[Tensor, "feature target"]:
        return self.whole.decoder.detach()[:, self.start : self.end]

    def initialize(self, generator: torch.Generator) -> None:
        raise InvalidInput("A part of a cross-layer dictionary is made with the whole.")

    def loss(
        self,
        x: Float[Tensor, "step unit"],
        y: Float[Tensor, "step target"],
        stage: Stage = LAST,
    ) -> Loss:
        raise InvalidInput("A part of a cross-layer dictionary is fitted with the whole.")

    def choices(self) -> dict[str, Any]:
        return self.whole.choices()

    def unbuilt(self) -> Dictionary:
        raise InvalidInput("A part of a cross-layer dictionary is made with the whole.")

    def __repr__(self) -> str:
        return f"{self.whole!r}[:, {self.start}:{self.end}]"
