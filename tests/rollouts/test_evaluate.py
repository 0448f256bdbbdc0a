"""Evaluating conditions: paired seeds, outcomes in their place, trajectories of the first seed."""

from typing import Any

import numpy as np
import pytest
import torch

from policyscope.envs.metric import Metric
from policyscope.errors import InvalidInput, NotFinite
from policyscope.interventions.clamp import clamp
from policyscope.interventions.intervention import Intervention
from policyscope.interventions.steer import steer
from policyscope.rollouts.evaluate import Evaluation, evaluate_conditions
from policyscope.testing.planted import CountingEnvironment, counting_agent, counting_length

SEEDS = (11, 4, 25, 6, 3)
CONDITIONS = {
    "plain": Intervention(),
    "idle": steer("fc2:in", 1.0, torch.tensor([1.0, 0.0, 0.0, 0.0])),
    "zero": clamp("fc2:in#3", 100.0),
}
STEP = Metric("step_read", "1", lambda step: step.observation[:, 1])


def played(**choices: Any) -> Evaluation:
    how: dict[str, Any] = {"conditions": CONDITIONS, "seeds": SEEDS} | choices
    conditions, seeds = how.pop("conditions"), how.pop("seeds")
    return evaluate_conditions(counting_agent(), CountingEnvironment, conditions, seeds, **how)


def base(seed: int) -> int:
    """The return of an episode in which action 0 is always taken."""
    return sum(64 * seed + 2 * step for step in range(counting_length(seed)))


def test_seeds_are_paired_across_conditions() -> None:
    found = played().outcomes
    assert found.conditions == tuple(CONDITIONS)
    assert found.seeds == SEEDS
    np.testing.assert_array_equal(found.of("plain"), found.of("idle"))
    np.testing.assert_array_equal(found.of("zero"), [base(seed) for seed in SEEDS])
    assert not np.array_equal(found.of("plain"), found.of("zero"))


def test_lengths_and_endings_lie_at_their_seed() -> None:
    found = played().outcomes
    for row in range(len(CONDITIONS)):
        assert found.length[row].tolist() == [counting_length(seed) for seed in SEEDS]
        assert found.ending[row] == tuple(
            "truncated" if seed % 2 else "terminated" for seed in SEEDS
        )


@pytest.mark.parametrize("rows", [1, 2, 7, 100])
def test_outcomes_do_not_depend_on_the_rows(rows: int) -> None:
    np.testing.assert_array_equal(
        played(rows=rows).outcomes.total_reward, played().outcomes.total_reward
    )


def test_one_condition_alone_does_as_it_does_among_others() -> None:
    for name, edit in CONDITIONS.items():
        alone = played(conditions={name: edit}).outcomes
        np.testing.assert_array_equal(alone.of(name), played().outcomes.of(name))


def test_a_seed_does_as_it_does_among_others() -> None:
    alone = played(seeds=[25]).outcomes
    np.testing.assert_array_equal(alone.total_reward[:, 0], played().outcomes.total_reward[:, 2])


def test_trajectories_are_those_of_the_first_seed() -> None:
    found = played(metrics=(STEP,), rows=4)
    assert [one.condition for one in found.trajectories] == list(CONDITIONS)
    for one in found.trajectories:
        assert one.seed == SEEDS[0]
        assert one.metrics["step_read"].tolist() == list(range(counting_length(SEEDS[0])))
    assert played().trajectories == ()


def test_steps_are_those_of_the_episodes() -> None:
    assert played().steps == len(CONDITIONS) * sum(map(counting_length, SEEDS))


def test_deterministic_plays_without_noise() -> None:
    first, second = (played(deterministic=True, seed=seed).outcomes for seed in (0, 1))
    np.testing.assert_array_equal(first.total_reward, second.total_reward)


class Closing(CountingEnvironment):
    """Remembers that it was closed."""

    closed = 0

    def close(self) -> None:
        type(self).closed += 1


def test_the_environment_is_closed_whatever_happens() -> None:
    agent = counting_agent()
    evaluate_conditions(agent, Closing, CONDITIONS, SEEDS)
    broken = lambda rows: Closing(rows, {(4, 2): KeyboardInterrupt()})  # noqa: E731
    with pytest.raises(KeyboardInterrupt):
        evaluate_conditions(agent, broken, CONDITIONS, SEEDS)
    assert Closing.closed == 2
    assert not any(m._forward_pre_hooks for m in agent.module.modules())


def no_environment(rows: int) -> CountingEnvironment:
    raise AssertionError("made an environment before everything was checked")


@pytest.mark.parametrize(
    ("conditions", "seeds", "message"),
    [
        ({}, SEEDS, "0 conditions with 5 episodes"),
        (CONDITIONS, (), "3 conditions with 0 episodes"),
        (CONDITIONS, (1, 2, 1), "Each seed may occur once"),
    ],
)
def test_nothing_to_play_and_seeds_given_twice_are_refused(
    conditions: Any, seeds: Any, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        evaluate_conditions(counting_agent(), no_environment, conditions, seeds)


class Boundless(CountingEnvironment):
    """Pays without bound."""

    def reward(self, action: Any) -> Any:
        return np.full(self.rows, np.inf, np.float32)


def test_a_return_that_is_not_finite_is_reported() -> None:
    with pytest.raises(NotFinite, match="'plain' with seed 11"):
        evaluate_conditions(counting_agent(), Boundless, CONDITIONS, SEEDS)
