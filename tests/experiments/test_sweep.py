"""A sweep recovers what was planted, with its sign and size, and says what it rests on."""

import json
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import false_discovery_control

from policyscope.agents.adapters.torch import TorchAgent
from policyscope.agents.agent import Acted
from policyscope.agents.recurrent_state import RecurrentState
from policyscope.envs.metric import Metric
from policyscope.errors import InvalidInput
from policyscope.experiments import sweep as sweeping
from policyscope.experiments.directions import random_directions
from policyscope.experiments.sweep import Sweep, compare_actions, sweep
from policyscope.interventions.steer import steer
from policyscope.rollouts.states import States
from policyscope.testing.planted import (
    NoiseEnvironment,
    PayingEnvironment,
    action_chance,
    layered,
    paying_agent,
    summing_agent,
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
        assert condition.verdict == "no effect shown"


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


class Continuous(TorchAgent):
    """Acts with the numbers that its module gives."""

    def act(self, observation: Any, state: Any, noise: Any) -> Acted:
        return Acted(self.module(observation).numpy())


def test_continuous_actions_are_compared_by_their_distance() -> None:
    """Their share of equal ones is not known: it would be of floats equal to the last bit."""
    reads_step = Continuous(layered(([[0.0, 1.0, 0.0]], [0.0]), ([[2.0]], [0.0])))
    states = torch.zeros(8, 3)
    states[:, 1] = torch.arange(8)
    seen = States(states, np.zeros(8, np.int64))
    pushes = [steer(feature, 1.0) for feature in unit_features(1)]
    same, distance = compare_actions(reads_step, pushes, seen)
    assert np.isnan(same).all()
    np.testing.assert_allclose(distance, 2.0 / (2 * np.arange(8)).std())


def test_a_recurrent_agent_is_compared_in_the_state_it_was_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A push of the third number by 1 is ¼ more of the first logit, from ⅛ less in every state."""
    agent, memory = summing_agent(), torch.tensor([0.0, 2.0, 0.0]).repeat(8, 1)
    pushes = [steer(feature, 1.0) for feature in unit_features(3)]
    without = States(STATES[:8], np.zeros(8, np.int64))
    assert np.isnan(compare_actions(agent, pushes, without)).all()
    monkeypatch.setattr(sweeping, "ROWS_AT_ONCE", 3)
    seen = States(STATES[:8], np.zeros(8, np.int64), RecurrentState(memory, (0,)))
    same, _ = compare_actions(agent, pushes, seen)
    assert same.tolist() == [1.0, 1.0, 0.0]


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


def few(random: int) -> Sweep:
    """One condition with a plain effect, beside this many random directions."""
    return sweep(
        paying_agent(), PayingEnvironment, [CODER[0]], [2.0], seeds=range(20), random=random
    )


def test_without_states_or_directions_those_are_left_out() -> None:
    bare = few(random=0)
    (condition,) = bare.conditions
    assert np.isnan(condition.action_agreement)
    assert condition.random is None
    (document,) = bare.to_json()["conditions"]
    assert document["action_agreement"] is document["p_random"] is document["p_verdict"] is None


def test_without_random_directions_nothing_is_confirmed() -> None:
    (condition,) = few(random=0).conditions
    assert condition.is_shown
    assert not condition.is_confirmed
    assert condition.verdict == "not compared with random"
    assert "Not compared with random directions" in few(random=0).note()


def test_too_few_random_directions_say_so_and_how_many_are_needed() -> None:
    found = few(random=18)
    (condition,) = found.conditions
    assert condition.is_shown
    assert condition.p_random >= 1 / 19
    assert not condition.is_confirmed
    assert condition.verdict == "too few random directions"
    assert "Nothing can be confirmed with 18 random directions" in found.note()
    assert "19 are needed" in found.note()


def test_a_feature_beyond_all_random_directions_is_confirmed() -> None:
    """In 64 units hardly any random direction pushes as the one unit does that is read."""
    wide = unit_features(64)
    head = torch.zeros(2, 64)
    head[1, 0] = 1.0
    hidden = ([[0.0] * 3] * 64, [0.0] * 64)
    reader = TorchAgent(layered(hidden, (head.tolist(), [0.0, -1.0])))
    found = sweep(reader, PayingEnvironment, [wide[0], wide[1]], [3.0], seeds=SEEDS, random=19)
    helps, idle = found.conditions
    assert (helps.p_random, helps.is_confirmed, helps.verdict) == (1 / 20, True, "raises")
    assert (idle.p_random, idle.verdict) == (1.0, "no effect shown")
    assert "A verdict needs both p at or below 0.05" in found.note()
    assert found.to_json()["conditions"][0]["verdict"] == "raises"


def test_every_feature_has_random_directions_of_its_own() -> None:
    one, two = (swept().of(feature)[-1].random for feature in (HELPS, HURTS))
    assert one is not None
    assert two is not None
    assert one.effects != two.effects


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
