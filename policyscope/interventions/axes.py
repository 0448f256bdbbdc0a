"""Which axis of an activation holds its units, and how what differs per row is laid along it.

    [row, unit]                      a vector: the last axis
    [row, token, unit]               tokens: the last axis
    [row, channel, height, width]    a map: its channels, axis 1

A 3-D activation is taken as tokens, so the units of a one-dimensional convolution, [row, channel,
length], are its positions: nothing in a shape tells the two apart.
"""

from jaxtyping import Shaped
from torch import Tensor

from policyscope.errors import InvalidInput


def unit_axis(activation: Shaped[Tensor, "..."]) -> int:
    """The axis of the units; InvalidInput for shapes in which that axis is not known."""
    if activation.dim() == 4:
        return 1
    if activation.dim() in (2, 3):
        return activation.dim() - 1
    raise InvalidInput(
        f"An activation of shape {list(activation.shape)} does not say which axis holds its units. "
        "Known: [row, unit], [row, token, unit] and [row, channel, height, width]. "
        "Choose another site."
    )


def along_units(
    values: Shaped[Tensor, "row unit"], activation: Shaped[Tensor, "..."]
) -> Shaped[Tensor, "row ..."]:
    """Values per row and unit, shaped to broadcast over every token or position."""
    check_rows(len(values), activation)
    shape = [1] * activation.dim()
    shape[0], shape[unit_axis(activation)] = values.shape
    return values.view(shape)


def check_rows(rows: int, activation: Shaped[Tensor, "..."]) -> None:
    """Raises InvalidInput where the first axis of an activation cannot be the rows."""
    if len(activation) != rows:
        raise InvalidInput(
            f"The first axis of an activation of shape {list(activation.shape)} is not the rows, "
            f"of which {rows} act. Choose a site whose first axis is the rows."
        )
