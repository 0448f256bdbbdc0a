"""The nudge that was planted is found; in noise nothing is."""

import json
from typing import Any

import pytest
from scipy.stats import binom

from policyscope.errors import InvalidInput
from policyscope.experiments.nudge import Nudge
from policyscope.experiments.push import Push, find_nudge, nudge_to_json
from policyscope.testing.planted import (
    NoiseEnvironment,
    PayingEnvironment,
    action_chance,
    paying_agent,
    unit_features,
)

CODER = unit_features(3)


def nudge(environment: Any = PayingEnvironment, **choices: Any) -> Nudge:
    how: dict[str, Any] = {
        "features": list(CODER),
        "alphas": (-1.0, 1.0),
        "search_seeds": range(30),
        "confirm_seeds": range(1000, 1040),
        "random": 19,
    }
    how |= choices
    return find_nudge(paying_agent(), environment, how.pop("features"), **how)


def test_the_planted_direction_is_found_with_its_sign_and_size() -> None:
    found = nudge()
    assert found.found
    assert {str(trial.candidate) for trial in found.confirmed} == {
        "planted#0 α=+1",
        "planted#2 α=-1",
    }
    truth = PayingEnvironment.length * (action_chance(0) - action_chance(-1))
    for trial in found.confirmed:
        assert trial.fresh.low <= truth <= trial.fresh.high
        assert trial.random is not None
        assert len(trial.random.effects) == 19


def test_what_is_said_of_it_is_json() -> None:
    document = json.loads(json.dumps(nudge_to_json(nudge()), allow_nan=False))
    assert document["found"] is True
    assert set(document) >= {"found", "candidates", "confirmed"}
    assert set(document["confirmed"][0]) >= {
        *("feature", "alpha", "difference", "low", "high", "p_corrected", "seeds"),
    }
    assert [one["rank"] for one in document["candidates"]] == list(range(1, 7))
    assert document["confirmed"][0]["seeds"] == 40


def test_features_of_one_norm_share_their_random_directions() -> None:
    played: list[int] = []

    class Counted(PayingEnvironment):
        def __init__(self, rows: int) -> None:
            played.append(rows)
            super().__init__(rows)

    nudge(Counted, alphas=(1.0,), features=[CODER[0], CODER[1]], keep=2)
    search, confirm = played
    assert search == 3 * 30
    assert confirm <= (1 + 2 + 19) * 40


def test_a_push_is_the_steering_it_names() -> None:
    push = Push(CODER[1], -0.5)
    assert str(push) == "planted#1 α=-0.5"
    assert str(push.intervention) == "steer planted#1 -0.5"


@pytest.mark.slow
def test_noise_is_mistaken_for_a_nudge_in_at_most_one_search_of_twenty() -> None:
    """200 searches in which no push can help, each with its own seeds.

    Only helpful pushes count, so the true rate is 2.5 %: more than 10 of 200 would then have a
    chance of 1.2 %. The searches are the same on every run.
    """
    finds = 0
    for number in range(200):
        first = 1000 * number
        found = nudge(
            NoiseEnvironment,
            alphas=(-2.0, -1.0, 1.0, 2.0),
            search_seeds=range(first, first + 20),
            confirm_seeds=range(first + 500, first + 530),
            random=0,
        )
        finds += found.found
    assert binom.sf(10, 200, 0.025) < 0.013
    assert finds <= 10


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"features": []}, "at least one feature"),
        ({"alphas": ()}, "at least one feature and one strength"),
        ({"random": 1}, "at least 2 random directions"),
        ({"alphas": (1.0, 1.0)}, "Each candidate may occur once"),
        ({"confirm_seeds": range(10, 40)}, "seeds are in both"),
    ],
)
def test_a_search_that_cannot_mean_anything_is_refused(
    changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        nudge(**changed)
