"""Edits of what features say: the shared arithmetic of clamp, scale and ablate.

The dictionary's code z of the activation becomes z′, and the activation gains
decode(z′) − decode(z). What the dictionary fails to explain stays untouched, so an edit changes
what the feature says and nothing else. (Error-preserving splices: Marks et al., arXiv 2403.19647,
section 3.1.)
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from policyscope.address import Site
from policyscope.dictionaries.feature import Feature, Owner
from policyscope.errors import InvalidInput
from policyscope.interventions.axes import check_rows, unit_axis
from policyscope.interventions.intervention import Batched, Edit, Values
from policyscope.interventions.target import reads_of, writes_of


def by_position(activation: Tensor) -> Tensor:
    """The activation with its units last: maps [row, channel, height, width] become positions."""
    return activation.movedim(unit_axis(activation), -1)


def by_channel(activation: Tensor) -> Tensor:
    """Undoes `by_position`."""
    return activation.movedim(-1, unit_axis(activation))


def as_written(decoded: Tensor, activation: Tensor) -> Tensor:
    """What a dictionary decoded, laid out as the activation it is to change."""
    written = by_channel(decoded)
    if written.shape != activation.shape:
        raise InvalidInput(
            f"The dictionary writes {list(written.shape)} where the network has "
            f"{list(activation.shape)}. It must read and write in the same places: both vectors, "
            "the same tokens, or maps of one height and width."
        )
    return written.to(activation.dtype)


def read_by(dictionary: Owner, activation: Tensor, values: Values) -> Tensor:
    """What the dictionary reads at the moment of an edit, units last.

    A transcoder reads what was kept earlier in this forward; an SAE reads the very activation that
    is being edited, after the edits before it.
    """
    if dictionary.reads == dictionary.writes:
        return by_position(activation)
    reads = reads_of(dictionary)
    if reads not in values:
        raise InvalidInput(
            f"{dictionary.name or 'The dictionary'} reads '{reads}', which the network reaches "
            f"only after '{dictionary.writes}', where it writes. Swap its sites."
        )
    return by_position(values[reads])


@dataclass(frozen=True, eq=False)
class CodeEdit(Edit):
    """Sets one feature to `value`, or multiplies it by `factor` where `value` is NaN."""

    feature: Feature
    value: Float[Tensor, "..."]
    factor: Float[Tensor, "..."]
    verb: str

    @property
    def site(self) -> Site:  # pyright: ignore[reportIncompatibleVariableOverride]
        return writes_of(self.feature.dictionary)

    @property
    def requires(self) -> tuple[Site, ...]:
        return (reads_of(self.feature.dictionary),)

    @property
    def rows(self) -> int | None:
        shape = torch.broadcast_shapes(self.value.shape, self.factor.shape)
        return shape[0] if shape else None

    def of_row(self, row: int) -> "CodeEdit":
        if self.rows is None:
            return self
        value, factor = torch.broadcast_tensors(self.value, self.factor)
        return CodeEdit(self.feature, value[row], factor[row], self.verb)

    @property
    def family(self) -> Hashable:
        return ("code", id(self.feature.dictionary))

    def batch(self, edits: Sequence[Edit | None]) -> "BatchedCode":
        return BatchedCode([edit if isinstance(edit, CodeEdit) else None for edit in edits])

    def __str__(self) -> str:
        return f"{self.verb} {self.feature.address}"


class BatchedCode(Batched):
    """A value and a factor for every feature and condition."""

    def __init__(self, edits: Sequence[CodeEdit | None]) -> None:
        first = next(edit for edit in edits if edit is not None)
        self.dictionary: Owner = first.feature.dictionary
        self.set: Bool[Tensor, "condition feature"] = torch.zeros(
            len(edits), len(self.dictionary), dtype=torch.bool
        )
        self.value = torch.zeros(len(edits), len(self.dictionary))
        self.factor = torch.ones(len(edits), len(self.dictionary))
        for condition, edit in enumerate(edits):
            if edit is None:
                continue
            column = edit.feature.index
            if torch.isnan(edit.value):
                self.factor[condition, column] = edit.factor
            else:
                self.set[condition, column] = True
                self.value[condition, column] = edit.value
        self.active = self.set.any(1) | (self.factor != 1).any(1)

    def gather(self, condition: Int[Tensor, " row"]) -> None:
        device = condition.device
        self._set = self.set.to(device)[condition]
        self._value = self.value.to(device)[condition]
        self._factor = self.factor.to(device)[condition]

    def edit(self, activation: Tensor, values: Values) -> Tensor:
        code = self.dictionary.encode(read_by(self.dictionary, activation, values))
        check_rows(len(self._set), code)
        shape = (len(code), *(1,) * (code.dim() - 2), code.shape[-1])
        wanted = torch.where(
            self._set.view(shape), self._value.view(shape), code * self._factor.view(shape)
        )
        change = self.dictionary.decode(wanted) - self.dictionary.decode(code)
        return activation + as_written(change, activation)
