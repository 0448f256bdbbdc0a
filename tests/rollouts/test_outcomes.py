"""Outcomes: paired rows by name, endings that add up, and refusals that say what is wrong."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import config

from policyscope.errors import InvalidInput, NotFinite, UnknownName
from policyscope.rollouts.outcomes import Outcomes

ENDINGS = ("pole_left", "pole_right", "cart_out", "survived")


@pytest.fixture
def without_shape_checks() -> Iterator[None]:
    """Leaves wrong shapes to our own errors, as in production."""
    before = config.jaxtyping_disable
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", before)


def outcomes(**changed) -> Outcomes:
    facts = {
        "conditions": ("baseline", "fc2#1 × -1"),
        "seeds": (3, 5, 8),
        "total_reward": np.array([[10.0, 20.0, 30.0], [11.0, 22.0, 33.0]]),
        "length": np.array([[10, 20, 30], [11, 22, 33]]),
        "ending": (("pole_left", "survived", "survived"), ("cart_out", "cart_out", "cart_out")),
    }
    return Outcomes(**(facts | changed))


def test_of_gives_the_returns_of_the_named_condition() -> None:
    assert outcomes().of("fc2#1 × -1").tolist() == [11.0, 22.0, 33.0]


def test_unknown_condition_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'baseline'"):
        outcomes().of("basline")


def test_subset_keeps_order_and_seeds() -> None:
    both = outcomes().subset(["fc2#1 × -1", "baseline"])
    assert both.conditions == ("fc2#1 × -1", "baseline")
    assert both.seeds == (3, 5, 8)
    assert both.of("baseline").tolist() == [10.0, 20.0, 30.0]
    assert both.endings("baseline") == {"survived": 2, "pole_left": 1}


@given(st.lists(st.sampled_from(ENDINGS), min_size=1, max_size=40))
def test_endings_add_up_to_the_episodes(ending: list[str]) -> None:
    episodes = len(ending)
    one = Outcomes(
        ("baseline",),
        tuple(range(episodes)),
        np.zeros((1, episodes)),
        np.ones((1, episodes), dtype=np.int64),
        (tuple(ending),),
    )
    counts = one.endings("baseline")
    assert sum(counts.values()) == one.episodes == episodes
    assert list(counts.values()) == sorted(counts.values(), reverse=True)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"total_reward": np.zeros((2, 4))}, r"total_reward has shape \(2, 4\)"),
        ({"length": np.zeros((1, 3), dtype=np.int64)}, r"length has shape \(1, 3\)"),
        ({"ending": (("survived",) * 3, ("survived",) * 2)}, r"ending has shape \(2, 2, 3\)"),
        ({"ending": ()}, r"ending has shape \(0,\)"),
        ({"conditions": ("baseline", "baseline")}, "condition may occur once.*baseline"),
        ({"seeds": (3, 5, 3)}, "seed may occur once.*: 3"),
    ],
)
def test_shapes_that_disagree_are_refused(
    without_shape_checks: None, changed: dict, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        outcomes(**changed)


def test_a_return_that_is_not_finite_is_named() -> None:
    returns = np.array([[10.0, 20.0, 30.0], [11.0, np.nan, 33.0]])
    with pytest.raises(NotFinite, match="'fc2#1 × -1' with seed 5 is nan"):
        outcomes(total_reward=returns)


def test_repr_is_one_short_line() -> None:
    assert repr(outcomes()) == "Outcomes(2 conditions × 3 episodes)"
