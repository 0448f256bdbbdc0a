"""A sweep recovers what was planted, with its sign and size, and says what it rests on."""

import json
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import false_discovery_control

from policyscope.envs.metric import Metric
from policyscope.errors import InvalidInput
from policyscope.experiments.directions import random_directions
from policyscope.experiments.sweep import Sweep, sweep
from policyscope.rollouts.observation import States
from policyscope.testing.planted import (
    NoiseEnvironment,
    PayingEnvironment,
    action_chance,
    paying_agent,
    unit_features,
)

CODER = unit_features(3)
ALPHAS = (-2.0, 0.0, 2.0)
SEEDS = tuple(range(60))
HELPS, IDLE, HURTS = 0, 1, 2
STATES = torch.zeros(16, 3)
STEP = Metric("step_read", "1", lambda step: step.observation[:, 1])


@cache
def swept() -> Sweep:
    return sweep(
        paying_agent(),
        PayingEnvironment,
        list(CODER),
        ALPHAS,
        seeds=SEEDS,
        random=39,
        metrics=(STEP,),
        states=States(STATES, np.zeros(len(STATES), np.int64)),
    )


def test_the_planted_effect_is_recovered_with_its_sign_and_size() -> None:
    for feature, sign in ((HELPS, 1), (HURTS, -1)):
        for condition in swept().of(feature):
            chance = action_chance(-1 + sign * condition.alpha)
            truth = PayingEnvironment.length * (chance - action_chance(-1))
            assert condition.effect.low <= truth <= condition.effect.high
            if condition.alpha:
                assert np.sign(condition.effect.difference) == sign * np.sign(condition.alpha)
                assert condition.p_corrected < 1e-6


def test_what_does_nothing_differs_in_nothing() -> None:
    for condition in (*swept().of(IDLE), swept().of(HELPS)[1]):
        assert condition.effect.difference == 0
        assert condition.p_corrected == 1
        assert not condition.is_confirmed
        assert Sweep.verdict(condition) == "no effect shown"


def test_the_dose_response_rises_with_the_strength() -> None:
    assert [condition.alpha for condition in swept().of(HELPS)] == list(ALPHAS)
    returns = [condition.total_reward.value for condition in swept().of(HELPS)]
    assert returns == sorted(returns)


def test_the_baseline_is_the_unedited_agent() -> None:
    truth = PayingEnvironment.length * action_chance(-1)
    assert swept().baseline.low <= truth <= swept().baseline.high
    assert swept().of(IDLE)[0].total_reward.value == swept().baseline.value


def test_endings_add_up_to_the_episodes() -> None:
    every = [swept().baseline_endings, *(c.endings for c in swept().conditions)]
    assert all(sum(endings.values()) == len(SEEDS) for endings in every)
    assert swept().baseline_endings == {"terminated": 30, "truncated": 30}


def test_p_is_corrected_over_the_whole_table() -> None:
    p = [condition.effect.p for condition in swept().conditions]
    corrected = [condition.p_corrected for condition in swept().conditions]
    np.testing.assert_allclose(corrected, false_discovery_control(p))


def test_the_band_is_that_of_random_directions_of_equal_norm() -> None:
    """No direction of that norm moves the logits further apart than the planted ones do."""
    strongest = swept().of(HELPS)[-1]
    assert strongest.random is not None
    assert len(strongest.random.effects) == 39
    farthest = np.sqrt(2) * 2
    at_most, at_least = (
        PayingEnvironment.length * (action_chance(-1 + push) - action_chance(-1))
        for push in (farthest, -farthest)
    )
    spread = 4 * PayingEnvironment.length * 0.5 / np.sqrt(8 * len(SEEDS))
    assert at_least - spread <= strongest.random.low < 0 < strongest.random.high
    assert strongest.random.high <= at_most + spread
    none = swept().of(HELPS)[1].random
    assert none is not None
    assert none.low == none.high == 0


def test_random_directions_have_length_one_and_are_repeated_by_their_seed() -> None:
    one, two = (random_directions(5, 7, torch.Generator().manual_seed(3)) for _ in range(2))
    torch.testing.assert_close(one.norm(dim=1), torch.ones(5))
    assert torch.equal(one, two)


def test_the_actions_agree_where_nothing_is_pushed() -> None:
    agreement = {(c.feature.index, c.alpha): c.action_agreement for c in swept().conditions}
    assert agreement[HELPS, 0.0] == agreement[HURTS, 0.0] == 1.0
    assert agreement[IDLE, 2.0] == 1.0
    # Logit 1 is 1 below: a push of 2 turns every action over.
    assert agreement[HELPS, 2.0] == agreement[HURTS, -2.0] == 0.0
    assert agreement[HELPS, -2.0] == 1.0


def test_trajectories_are_of_the_baseline_and_the_features() -> None:
    shown = [trajectory.condition for trajectory in swept().trajectories]
    assert len(shown) == 1 + 9
    assert shown[:2] == ["baseline", "planted#0 -2"]
    assert swept().trajectories[0].metrics["step_read"].tolist() == list(range(8))


def test_the_table_and_the_json_say_the_same() -> None:
    document = json.loads(json.dumps(swept().to_json(), allow_nan=False))
    assert set(document) >= {"conditions", "baseline", "random_band"}
    assert set(document["conditions"][0]) >= {
        *("feature", "alpha", "return_mean", "low", "high", "difference", "difference_low"),
        *("difference_high", "p", "p_corrected", "endings"),
    }
    assert len(document["conditions"]) == 9
    assert document["random_band"]["directions"] == 39
    assert "planted#0" in str(swept())
    assert "baseline" in swept()._repr_html_()


def test_without_states_or_directions_those_are_left_out() -> None:
    bare = sweep(paying_agent(), PayingEnvironment, [CODER[0]], [1.0], seeds=range(4), random=0)
    assert np.isnan(bare.conditions[0].action_agreement)
    assert bare.conditions[0].random is None
    assert bare.to_json()["conditions"][0]["action_agreement"] is None
    assert str(bare)


def test_noise_confirms_nothing() -> None:
    quiet = sweep(
        paying_agent(), NoiseEnvironment, list(CODER), [-1.0, 1.0], seeds=range(50), random=19
    )
    assert quiet.confirmed == ()


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no features": ({"features": []}, "at least one feature"),
    "no strengths": ({"alphas": []}, "finite strengths"),
    "infinite": ({"alphas": [float("inf")]}, "finite strengths"),
    "one episode": ({"seeds": [1]}, "at least 2 episodes per condition; got 1"),
    "a strength twice": ({"alphas": [1.0, 1.0]}, "Each strength may occur once"),
    "a feature twice": ({"features": [CODER[0], CODER[0]]}, "Each feature may occur once"),
    "one direction": ({"random": 1}, "at least 2 random directions"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_sweep_that_cannot_say_anything_is_refused(name: str) -> None:
    changed, message = REFUSED[name]
    how: dict[str, Any] = {"features": [CODER[0]], "alphas": [1.0], "seeds": [1, 2]} | changed
    features, alphas = how.pop("features"), how.pop("alphas")
    with pytest.raises(InvalidInput, match=message):
        sweep(paying_agent(), PayingEnvironment, features, alphas, **how)
