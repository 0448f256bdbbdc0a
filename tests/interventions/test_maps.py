"""Edits of maps [row, channel, height, width]: a feature is edited at every position."""

import torch
from torch import nn

from policyscope.interventions.ablate import ablate
from policyscope.interventions.clamp import clamp
from policyscope.interventions.code import by_channel, by_position
from policyscope.interventions.splice import splice
from policyscope.interventions.steer import steer
from policyscope.testing.planted import edited_forward, perfect_dictionary, unit_features

CHANNELS = 3
NETWORK = nn.Sequential(nn.Identity(), nn.Identity())
MAPS = torch.randn(2, CHANNELS, 4, 5, generator=torch.Generator().manual_seed(0))
CODER = unit_features(CHANNELS, "0:out")


def test_positions_and_channels_are_inverse() -> None:
    assert by_position(MAPS).shape == (2, 4, 5, CHANNELS)
    assert torch.equal(by_channel(by_position(MAPS)), MAPS)


def test_a_clamped_feature_holds_at_every_position() -> None:
    edited, _ = edited_forward(NETWORK, [clamp(CODER[1], 0.5)], MAPS, [0, 0])
    negative_part = MAPS[:, 1].clamp(max=0)
    torch.testing.assert_close(edited[:, 1], 0.5 + negative_part)
    torch.testing.assert_close(edited[:, [0, 2]], MAPS[:, [0, 2]])


def test_a_unit_of_a_map_is_a_channel() -> None:
    edited, _ = edited_forward(NETWORK, [ablate("0:out#2")], MAPS, [0, 0])
    assert (edited[:, 2] == 0).all()
    assert torch.equal(edited[:, :2], MAPS[:, :2])


def test_steering_a_map_adds_to_every_position() -> None:
    edited, _ = edited_forward(NETWORK, [steer(CODER[0], 2.0)], MAPS, [0, 0])
    torch.testing.assert_close(edited[:, 0], MAPS[:, 0] + 2)
    assert torch.equal(edited[:, 1:], MAPS[:, 1:])


def test_a_perfect_dictionary_of_positions_changes_nothing() -> None:
    perfect = perfect_dictionary(CHANNELS, "0:out")
    edited, _ = edited_forward(NETWORK, [splice(perfect)], MAPS, [0, 0])
    assert torch.equal(edited, MAPS)
