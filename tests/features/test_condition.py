"""Conditions as code and as words."""

import numpy as np
import pytest

from policyscope.envs.metric import Words
from policyscope.features.condition import Condition, Scale, say

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
