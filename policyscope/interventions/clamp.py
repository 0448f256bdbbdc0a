"""Clamping: a feature or unit held at a value, whatever the network computed."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from policyscope.address import UnitAddress
from policyscope.dictionaries.feature import Feature
from policyscope.errors import InvalidInput
from policyscope.interventions.code import CodeEdit
from policyscope.interventions.intervention import Intervention
from policyscope.interventions.target import Target, resolve
from policyscope.interventions.unit import UnitEdit


def clamp(target: Target, value: float | Float[Tensor, " row"] | Sequence[float]) -> Intervention:
    """Holds a feature or unit at `value`, one number or one per row.

    A feature's edit preserves the reconstruction error: h + decode(z′) − decode(z).
    """
    values = finite("value", value)
    verb = f"clamp to {float(values):g}" if values.dim() == 0 else f"clamp to {len(values)} values"
    return set_or_multiply(target, values, torch.tensor(1.0), verb)


def finite(
    name: str, given: float | Float[Tensor, "..."] | Sequence[float]
) -> Float[Tensor, "*row"]:
    """The parameter as a tensor, refused unless it is one finite number, or one per row."""
    numbers = torch.as_tensor(given, dtype=torch.float32)
    if numbers.dim() > 1 or numbers.numel() == 0 or not torch.isfinite(numbers).all():
        raise InvalidInput(f"{name} is {given!r}; expected one finite number, or one per row.")
    return numbers


def set_or_multiply(
    target: Target, value: Float[Tensor, "..."], factor: Float[Tensor, "..."], verb: str
) -> Intervention:
    """The edit of a feature or unit that sets it to `value`, or multiplies where `value` is NaN."""
    aim = resolve(target)
    if isinstance(aim, Feature):
        return Intervention(tuple(CodeEdit(part, value, factor, verb) for part in aim.parts))
    if isinstance(aim, UnitAddress):
        if aim.position is not None:
            raise InvalidInput(f"Cannot {verb} the one cell '{aim}'. Give the whole unit.")
        return Intervention((UnitEdit(aim.site, aim.unit, value, factor, verb),))
    raise InvalidInput(f"Cannot {verb} the whole site '{aim}'. Give a feature or a unit.")
