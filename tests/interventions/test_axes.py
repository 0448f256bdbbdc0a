"""Edits find the units, whatever axes stand between them and the rows."""

import pytest
import torch
from torch import nn

from policyscope.errors import InvalidInput
from policyscope.interventions.ablate import ablate
from policyscope.interventions.axes import unit_axis
from policyscope.interventions.clamp import clamp
from policyscope.interventions.intervention import Intervention
from policyscope.interventions.scale import scale
from policyscope.interventions.splice import splice
from policyscope.interventions.steer import steer
from policyscope.testing.planted import edited_forward, features, perfect_dictionary, unit_features

NETWORK = nn.Sequential(nn.Identity(), nn.Identity())
UNITS = 3
UNIT = torch.eye(UNITS).tolist()
TOKENS = torch.randn(2, 4, UNITS, generator=torch.Generator().manual_seed(0))
CODER = unit_features(UNITS, "0:out")


@pytest.mark.parametrize(
    ("shape", "axis"), [((2, 3), 1), ((2, 4, 3), 2), ((2, 3, 4, 5), 1), ((2, 3, 3), 2)]
)
def test_the_units_are_the_channels_of_a_map_and_last_otherwise(
    shape: tuple[int, ...], axis: int
) -> None:
    assert unit_axis(torch.zeros(shape)) == axis


@pytest.mark.parametrize("shape", [(), (2,), (2, 3, 4, 5, 6)])
def test_a_shape_that_does_not_say_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match="does not say which axis holds its units"):
        unit_axis(torch.zeros(shape))


def test_a_unit_of_tokens_is_silenced_in_each_and_no_token_is() -> None:
    edited, _ = edited_forward(NETWORK, [ablate("0:out#1")], TOKENS, [0, 0])
    assert (edited[..., 1] == 0).all()
    assert torch.equal(edited[..., [0, 2]], TOKENS[..., [0, 2]])


def test_every_row_has_its_own_unit() -> None:
    conditions = [ablate("0:out#1"), scale("0:out#2", 2.0)]
    edited, _ = edited_forward(NETWORK, conditions, TOKENS)
    expected = TOKENS.clone()
    expected[0, :, 1] = 0
    expected[1, :, 2] *= 2
    assert torch.equal(edited, expected)


def test_there_is_no_unit_beyond_the_last() -> None:
    """Though there is a token of that number."""
    with pytest.raises(InvalidInput, match="no unit 3: the activation has 3 units"):
        edited_forward(NETWORK, [ablate("0:out#3")], TOKENS, [0, 0])


def test_steering_tokens_adds_to_each() -> None:
    edited, _ = edited_forward(NETWORK, [steer(CODER[2], 2.0)], TOKENS, [0, 0])
    torch.testing.assert_close(edited, TOKENS + torch.tensor([0.0, 0.0, 2.0]))
    with pytest.raises(InvalidInput, match="Cannot steer 3 units along a direction of 4"):
        edited_forward(NETWORK, [steer("0:out", 1.0, torch.ones(4))], TOKENS, [0, 0])


def test_a_clamped_feature_holds_at_every_token() -> None:
    edited, _ = edited_forward(NETWORK, [clamp(CODER[1], 0.5)], TOKENS, [0, 0])
    torch.testing.assert_close(edited[..., 1], 0.5 + TOKENS[..., 1].clamp(max=0))
    assert torch.equal(edited[..., [0, 2]], TOKENS[..., [0, 2]])


def test_a_perfect_dictionary_of_tokens_changes_nothing() -> None:
    perfect = perfect_dictionary(UNITS, "0:out")
    edited, _ = edited_forward(NETWORK, [splice(perfect)], TOKENS, [0, 0])
    assert torch.equal(edited, TOKENS)


@pytest.mark.parametrize("edit", [ablate("0:out#1"), steer(CODER[0], 1.0), clamp(CODER[0], 1.0)])
def test_a_first_axis_that_is_not_the_rows_is_refused(edit: Intervention) -> None:
    with pytest.raises(InvalidInput, match=r"first axis .*\[2, 4, 3\] is not the rows, of which 4"):
        edited_forward(NETWORK, [edit], TOKENS, [0, 0, 0, 0])


class Pooled(nn.Module):
    """From a map to a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.map, self.vector = nn.Identity(), nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.vector(self.map(x).mean((2, 3)))


@pytest.mark.parametrize("kind", ["clamp", "splice"])
def test_a_dictionary_from_a_map_to_a_vector_is_refused(kind: str) -> None:
    across = features(UNIT, UNIT, reads="map:out", writes="vector:out")
    edit = splice(across) if kind == "splice" else clamp(across[0], 1.0)
    maps = torch.ones(2, UNITS, 4, 5)
    with pytest.raises(InvalidInput, match="must read and write in the same places"):
        edited_forward(Pooled(), [edit], maps, [0, 0])
