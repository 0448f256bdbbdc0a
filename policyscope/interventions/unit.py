"""Edits of raw units (channels), for comparison with features."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from policyscope.address import Site
from policyscope.errors import InvalidInput
from policyscope.interventions.axes import check_rows, unit_axis
from policyscope.interventions.intervention import Batched, Edit, Values


@dataclass(frozen=True, eq=False)
class UnitEdit(Edit):
    """Sets one unit of a site to `value`, or multiplies it by `factor` where `value` is NaN."""

    site: Site
    unit: int
    value: Float[Tensor, "..."]
    factor: Float[Tensor, "..."]
    verb: str

    @property
    def rows(self) -> int | None:
        shape = torch.broadcast_shapes(self.value.shape, self.factor.shape)
        return shape[0] if shape else None

    def of_row(self, row: int) -> "UnitEdit":
        if self.rows is None:
            return self
        value, factor = torch.broadcast_tensors(self.value, self.factor)
        return UnitEdit(self.site, self.unit, value[row], factor[row], self.verb)

    @property
    def family(self) -> Hashable:
        return "unit"

    def batch(self, edits: Sequence[Edit | None]) -> "BatchedUnit":
        return BatchedUnit([edit if isinstance(edit, UnitEdit) else None for edit in edits])

    def __str__(self) -> str:
        return f"{self.verb} {self.site}#{self.unit}"


class BatchedUnit(Batched):
    """One unit, value and factor per condition."""

    def __init__(self, edits: Sequence[UnitEdit | None]) -> None:
        self.unit = torch.tensor([0 if edit is None else edit.unit for edit in edits])
        self.value = torch.stack([torch.tensor(torch.nan) if e is None else e.value for e in edits])
        self._last = int(self.unit.max())
        self.factor = torch.stack([torch.tensor(1.0) if e is None else e.factor for e in edits])
        self.active = ~torch.isnan(self.value) | (self.factor != 1)

    def gather(self, condition: Int[Tensor, " row"]) -> None:
        device = condition.device
        self._unit = self.unit.to(device)[condition]
        self._value = self.value.to(device)[condition]
        self._factor = self.factor.to(device)[condition]

    def edit(self, activation: Tensor, values: Values) -> Tensor:
        axis = unit_axis(activation)
        check_rows(len(self._unit), activation)
        if self._last >= activation.shape[axis]:
            raise InvalidInput(
                f"There is no unit {self._last}: the activation has {activation.shape[axis]} units."
            )
        shape = (-1, *(1,) * (activation.dim() - 2))
        row = torch.arange(len(activation), device=activation.device)
        edited = activation.clone()
        # A view: what is written into it is written into `edited`.
        by_unit = edited.movedim(axis, 1)
        value, factor = self._value.view(shape), self._factor.view(shape)
        before = by_unit[row, self._unit]
        by_unit[row, self._unit] = torch.where(torch.isnan(value), before * factor, value).to(
            activation.dtype
        )
        return edited
