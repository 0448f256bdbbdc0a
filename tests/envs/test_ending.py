"""Endings: names for how an episode ended."""

import numpy as np
import pytest

from policyscope.envs import ending as endings
from policyscope.envs.ending import ending, endings_of, name_ending


def test_an_environment_without_names_says_what_gymnasium_says():
    assert endings_of("Nowhere-v1") == ("terminated", "truncated")
    assert name_ending("Nowhere-v1", np.zeros(6), True) == "terminated"
    assert name_ending("Nowhere-v1", np.zeros(6), False) == "truncated"


def test_a_decorated_function_names_the_endings_of_its_environments(monkeypatch):
    monkeypatch.setattr(endings, "ENDINGS", dict(endings.ENDINGS))

    @ending("World-v0", "World-v1", names=("fell", "arrived"))
    def classify(observation, terminated):
        return "fell" if terminated else "arrived"

    assert endings_of("World-v1") == ("fell", "arrived")
    assert name_ending("World-v0", np.zeros(1), True) == "fell"


@pytest.mark.parametrize("version", ["CartPole-v0", "CartPole-v1"])
def test_cartpole_has_four(version):
    assert endings_of(version) == ("pole_left", "pole_right", "cart_out", "survived")
