"""Recurrent state: its rows are found, taken out and put together again, however it is nested."""

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from policyscope.agents.adapters.function import FunctionAgent
from policyscope.agents.hooks import leaves
from policyscope.agents.recurrent_state import RecurrentState, row_axes, together
from policyscope.errors import InvalidInput


class Pair(NamedTuple):
    hidden: Any
    cell: Any


def begin(rows: int) -> dict[str, Any]:
    """Rows come first, second and third."""
    layered = torch.arange(2 * rows * 3.0).reshape(2, rows, 3)
    return {
        "memory": Pair(layered, layered + 100),
        "count": torch.arange(rows),
        "window": (torch.zeros(2, 2, rows),),
        "kind": "no tensor",
    }


AGENT = FunctionAgent(nn.Linear(1, 1), lambda seen, state: state, begin)


def test_the_row_axis_is_the_one_that_counts_the_rows() -> None:
    assert row_axes(AGENT) == (1, 1, 0, 2)


@given(st.lists(st.lists(st.integers(0, 4), max_size=6), min_size=1, max_size=4))
def test_parts_put_together_are_the_rows_of_all_of_them(parts: list[list[int]]) -> None:
    whole = RecurrentState(begin(5), row_axes(AGENT))
    taken = together([whole[np.array(part, np.int64)] for part in parts])
    at_once = whole[np.array([row for part in parts for row in part], np.int64)]
    for one, other in zip(leaves(taken.state), leaves(at_once.state), strict=True):
        assert torch.equal(one, other)
    assert isinstance(taken.state["memory"], Pair)
    assert taken.state["kind"] == "no tensor"
    assert taken.nbytes == sum(tensor.nbytes for tensor in leaves(taken.state))


def test_a_tensor_for_all_rows_is_refused() -> None:
    agent = FunctionAgent(nn.Linear(1, 1), lambda seen, state: state, lambda rows: torch.zeros(3))
    with pytest.raises(InvalidInput, match=r"Tensor 0 .* shape \[3\] for two rows and \[3\]"):
        row_axes(agent)


def test_states_of_different_shape_do_not_go_together() -> None:
    states = [RecurrentState(torch.zeros(2, width), (0,)) for width in (3, 4)]
    with pytest.raises(InvalidInput, match="changes its shape from step to step"):
        together(states)


def test_a_state_with_other_tensors_than_at_the_start_is_refused() -> None:
    with pytest.raises(InvalidInput, match="has 1 tensors now and had 2"):
        RecurrentState(torch.zeros(2), (0, 0))
