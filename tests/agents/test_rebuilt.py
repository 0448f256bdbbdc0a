"""What agents rebuilt from weights share: pictures, windows, states put back."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from policyscope.agents.agent import Acted
from policyscope.agents.rebuilt import RebuiltAgent, image, shifted

LIKE = torch.zeros(1)


@pytest.mark.parametrize("shape", [(2, 4, 8, 8), (2, 8, 8, 4), (2, 4, 8, 8, 1)])
def test_pictures_have_channels_first_and_bytes_become_fractions(shape):
    picture = image(torch.full(shape, 51, dtype=torch.uint8), 4, LIKE)
    assert picture.shape == (2, 4, 8, 8)
    torch.testing.assert_close(picture, torch.full((2, 4, 8, 8), 0.2))


def test_floating_pictures_are_taken_as_they_are():
    assert torch.equal(image(torch.ones(2, 8, 8), 1, LIKE), torch.ones(2, 1, 8, 8))


def test_stacked_colour_frames_become_channels_frame_by_frame():
    frames = torch.arange(2).view(1, 2, 1, 1, 1).expand(1, 2, 8, 8, 3).float()
    assert image(frames, 6, LIKE)[0, :, 0, 0].tolist() == [0, 0, 0, 1, 1, 1]


@given(st.integers(1, 6), st.integers(1, 9))
def test_a_window_holds_the_latest_entries_in_order(width, steps):
    window = torch.full((1, width), -1.0)
    for step in range(steps):
        window = shifted(window, torch.tensor([float(step)]))
    assert window[0].tolist() == ([-1.0] * width + [*map(float, range(steps))])[-width:]


class Counting(RebuiltAgent):
    """Its state counts steps, in a nest of tuples and dicts."""

    def __init__(self):
        self.module = nn.Linear(1, 1)

    @classmethod
    def recognize(cls, shapes):
        return None

    def initial_state(self, rows: int):
        return {"steps": torch.zeros(rows), "pair": (torch.ones(rows, 2), torch.zeros(rows, 3))}

    def act(self, observation: Tensor, state, noise):
        return Acted(np.zeros(len(observation)), {}, state)


@given(st.sets(st.integers(0, 4)))
def test_a_reset_state_is_new_in_its_rows_and_leaves_the_old_one_alone(rows):
    agent = Counting()
    state = {"steps": torch.full((5,), 7.0)}
    state["pair"] = (torch.full((5, 2), 7.0), torch.full((5, 3), 7.0))
    reset = agent.reset_state(state, np.array(sorted(rows), np.int64))
    assert reset["steps"].tolist() == [0.0 if row in rows else 7.0 for row in range(5)]
    assert reset["pair"][0][:, 0].tolist() == [1.0 if row in rows else 7.0 for row in range(5)]
    assert torch.equal(state["steps"], torch.full((5,), 7.0))
