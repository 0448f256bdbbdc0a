"""Clamping: a feature or unit held at a value, whatever the network computed."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from policyscope.dictionaries.feature import Feature
from policyscope.errors import InvalidInput
from policyscope.interventions.code import CodeEdit
from policyscope.interventions.intervention import Intervention
from policyscope.interventions.target import Target, resolve
from policyscope.interventions.unit import UnitEdit
from policyscope.address import UnitAddress


def clamp(target: Target, value: float | Float[Tensor, " row"] | Sequence[float]) -> Intervention:
    """Holds a feature or unit at `value`, one number or one per row.

    A feature's edit preserves the reconstruction error: h + decode(z′) − decode(z).
    """
    values = torch.as_tensor(value, dtype=torch.float32)
    if not torch.isfinite(values).all():
        raise InvalidInput(f"value is {value!r}; expected finite numbers.")
    verb = f"clamp to {float(values):g}" if values.dim() == 0 else f"clamp to {len(values)} values"
    return set_or_multiply(target, values, torch.tensor(1.0), verb)


def set_or_multiply(
    target: Target, value: Float[Tensor, "..."], factor: Float[Tensor, "..."], verb: str
) -> Intervention:
    """The edit of a feature or unit that sets it to `value`, or multiplies where `value` is NaN."""
    aim = resolve(target)
    if isinstance(aim, Feature):
        return Intervention((CodeEdit(aim, value, factor, verb),))
    if isinstance(aim, UnitAddress):
        return Intervention((UnitEdit(aim.site, aim.unit, value, factor, verb),))
    raise InvalidInput(f"Cannot {verb} the whole site '{aim}'. Give a feature or a unit.")
