"""An intervention: edits of activations as one value that composes with `+`."""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from policyscope.address import Site
from policyscope.errors import InvalidInput

Values = Mapping[Site, Tensor]


class Batched(ABC):
    """Edits of one family, one per condition, applied to all rows of a batch at once.

    `assign` says which condition each row has; `edit` then changes those rows whose condition has
    such an edit, and returns the others bit for bit as they were.
    """

    active: Bool[Tensor, " condition"]
    leaves_others: bool = False
    """Whether `edit` itself leaves rows without such an edit bit for bit as they were."""
    _rows: Int[Tensor, " row"]
    _active_rows: Bool[Tensor, " row"]

    def assign(self, condition: Int[Tensor, " row"]) -> None:
        """Gives every row its condition."""
        self._rows = condition
        self._active_rows = self.active.to(condition.device)[condition]
        self._any = bool(self._active_rows.any())
        self._all = self.leaves_others or bool(self._active_rows.all())
        if self._any:
            self.gather(condition)

    def __call__(self, activation: Tensor, values: Values) -> Tensor:
        """`activation` with the edit made in the rows that have one."""
        if not self._any:
            return activation
        edited = self.edit(activation, values)
        if self._all:
            return edited
        mask = self._active_rows.view(-1, *(1,) * (activation.dim() - 1))
        return torch.where(mask, edited, activation)

    @abstractmethod
    def gather(self, condition: Int[Tensor, " row"]) -> None:
        """Looks up the parameters of every row's condition."""

    @abstractmethod
    def edit(
        self, activation: Shaped[Tensor, "row ..."], values: Values
    ) -> Shaped[Tensor, "row ..."]:
        """`activation` with the edit made in every row."""


class Edit(ABC):
    """One change at one site. Its parameters may differ per row: then `rows` is their number."""

    site: Site

    @property
    def requires(self) -> tuple[Site, ...]:
        """Sites that must be read earlier in the same forward."""
        return ()

    @property
    def rows(self) -> int | None:
        """How many rows its parameters are for; None when all rows get the same."""
        return None

    def of_row(self, row: int) -> "Edit":
        """The edit that this row gets."""
        return self

    @property
    @abstractmethod
    def family(self) -> Hashable:
        """Edits of equal family at one site can be applied to a batch together."""

    @abstractmethod
    def batch(self, edits: Sequence["Edit | None"]) -> Batched:
        """The edits of one family, one per condition (None where a condition has none)."""

    @abstractmethod
    def __str__(self) -> str: ...


@dataclass(frozen=True)
class Intervention:
    """Edits in the order they are made.

    Edits at different sites commute; `Intervention()` changes nothing.
    """

    edits: tuple[Edit, ...] = ()

    def __add__(self, other: "Intervention") -> "Intervention":
        return Intervention(self.edits + other.edits)

    def __radd__(self, other: int) -> "Intervention":
        # sum() begins with 0.
        return self

    def __bool__(self) -> bool:
        return bool(self.edits)

    def __str__(self) -> str:
        return " + ".join(map(str, self.edits)) or "nothing"

    __repr__ = __str__

    @property
    def sites(self) -> tuple[Site, ...]:
        """Every site that is edited or must be read for it."""
        return tuple(dict.fromkeys(s for edit in self.edits for s in (edit.site, *edit.requires)))

    def split(self) -> list["Intervention"]:
        """One intervention per row, when parameters differ per row; otherwise itself alone."""
        counts = sorted({edit.rows for edit in self.edits if edit.rows is not None})
        if len(counts) > 1:
            raise InvalidInput(f"Edits of {self} are for different numbers of rows: {counts}.")
        if not counts:
            return [self]
        (rows,) = counts
        return [Intervention(tuple(edit.of_row(row) for edit in self.edits)) for row in range(rows)]
