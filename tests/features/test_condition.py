"""Conditions as code and as words."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policyscope.envs.metric import Words
from policyscope.errors import InvalidInput
from policyscope.features.condition import Condition, Rule, Scale, say

CART = Words("cart {not} {far} left", "cart {not} {far} right")
SPEED = Words("cart {not} moving left {fast}", "cart {not} moving right {fast}")
PLAIN = Words("cold", "hot", neutral=20.0)
SCALE = Scale(near=0.2, far=1.5)


@pytest.mark.parametrize(
    ("words", "low", "high", "text"),
    [
        (CART, 1.9, np.inf, "cart far right"),
        (CART, 0.5, np.inf, "cart right"),
        (CART, 0.0, np.inf, "cart right"),
        (CART, -0.1, np.inf, "cart not left"),
        (CART, -0.5, np.inf, "cart not far left"),
        (CART, -np.inf, -1.9, "cart far left"),
        (CART, -np.inf, 0.5, "cart not far right"),
        (CART, 0.5, 1.2, "cart right but not far"),
        (CART, 0.5, 2.2, "cart right"),
        (CART, -1.2, -0.5, "cart left but not far"),
        (CART, 1.6, 2.2, "cart far right"),
        (CART, -0.3, 0.2, "x near 0"),
        (CART, -0.1, 1.8, "cart not left"),
        (CART, -1.8, 0.5, "cart not far right"),
        (SPEED, -0.5, np.inf, "cart not moving left fast"),
        (SPEED, 2.2, np.inf, "cart moving right fast"),
        (PLAIN, 25.0, np.inf, "hot"),
        (PLAIN, -np.inf, 30.0, "not hot"),
    ],
)
def test_what_is_said(words, low, high, text):
    assert say(Condition("x", low, high), words, SCALE) == text


def test_what_is_printed():
    assert str(Condition("x", low=1.9)) == "x > 1.9"
    assert str(Condition("x", high=-0.5)) == "x <= -0.5"
    assert str(Condition("x", -0.5, 1.9)) == "-0.5 < x <= 1.9"


def test_where_it_holds():
    values = np.array([-1.0, 0.0, 0.5, 1.0])
    assert Condition("x", 0.0, 0.5).holds(values).tolist() == [False, False, True, False]


numbers = st.floats(-1e6, 1e6).map(lambda x: float(f"{x:g}"))


@given(st.dictionaries(st.sampled_from("xyz"), st.tuples(numbers, numbers), min_size=1))
def test_a_printed_rule_is_parsed_to_the_same(bounds: dict[str, tuple[float, float]]) -> None:
    pairs = {name: (min(pair), max(pair)) for name, pair in bounds.items()}
    rule = Rule(
        tuple(
            Condition(name, *pair) if pair[0] < pair[1] else Condition(name, low=pair[0])
            for name, pair in pairs.items()
        )
    )
    assert Rule.parse(str(rule)) == rule


def test_bounds_that_take_a_value_in_or_leave_it_out() -> None:
    values = np.array([0.0, 1.0, 2.0])
    for text, expected in (
        ("x >= 1", [False, True, True]),
        ("x > 1", [False, False, True]),
        ("x < 1", [True, False, False]),
        ("x == 1", [False, True, False]),
        ("1 <= x < 2", [False, True, False]),
        ("x >= 0", [True, True, True]),
    ):
        (condition,) = Rule.parse(text).conditions
        assert condition.holds(values).tolist() == expected, text
        assert Rule.parse(str(Rule.parse(text))) == Rule.parse(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'' is no condition"),
        ("x", "'x' is no condition. Write it as x > 1"),
        ("x > big", "no condition"),
        ("x > 1 or y > 2", "no condition"),
        ("2 < x <= 1", "No x is above 2 and at most 1"),
        ("x > 1 and x <= 0.5", "No x is above 1 and at most 0.5"),
    ],
)
def test_what_is_no_rule_is_refused(text: str, said: str) -> None:
    with pytest.raises(InvalidInput) as error:
        Rule.parse(text)
    assert said in str(error.value)
