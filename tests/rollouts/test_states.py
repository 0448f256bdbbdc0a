"""States: samples of a recording, and for a recurrent agent of whole episodes seen again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from policyscope.agents.adapters.function import FunctionAgent
from policyscope.agents.agent import Agent
from policyscope.recordings.recording import Recording
from policyscope.rollouts import states as states_of
from policyscope.rollouts.record import record_rollout
from policyscope.rollouts.states import States, choose_episodes, sample_states
from policyscope.testing.planted import CountingEnvironment, counting_agent, summing_agent

SEED, STEP = 0, 1


def record(agent: Agent, directory: Path, **choices: Any) -> Recording:
    choices = {"episodes": 30, "rows": 3} | choices
    return record_rollout(agent, CountingEnvironment, directory / "main", sites=(), **choices)


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    return record(summing_agent(), tmp_path)


def test_recalled_states_belong_to_their_observations(recording: Recording) -> None:
    """The state of step t is the sum of t observations, of which each begins with the seed."""
    states = sample_states(recording, 20, agent=summing_agent())
    seen, state = states.to(torch.device("cpu"))
    assert len(states) == 20
    np.testing.assert_array_equal(state[:, SEED], seen[:, SEED] * seen[:, STEP])
    np.testing.assert_array_equal(seen[:, SEED], states.episode)
    chosen = np.array([3, 1])
    part = states[chosen]
    assert torch.equal(part.to(torch.device("cpu"))[1], state[chosen])
    assert part.episodes == len(set(states.episode[chosen].tolist()))


def test_recalled_states_are_of_the_episodes_asked_for(recording: Recording) -> None:
    states = sample_states(recording, 1000, agent=summing_agent(), episodes={4, 7, 8})
    lengths = {e.index: e.length for e in recording.episodes}
    assert len(states) == lengths[4] + lengths[7] + lengths[8]
    assert set(states.episode.tolist()) == {4, 7, 8}


def test_the_same_seed_draws_the_same_states(recording: Recording) -> None:
    one, same, other = (
        sample_states(recording, 20, agent=summing_agent(), seed=seed) for seed in (1, 1, 2)
    )
    assert isinstance(one.observation, Tensor)
    assert isinstance(same.observation, Tensor)
    assert isinstance(other.observation, Tensor)
    assert torch.equal(one.observation, same.observation)
    assert not torch.equal(one.observation, other.observation)


def test_states_of_an_agent_without_one_are_observations_only(recording: Recording) -> None:
    agent = counting_agent()
    states = sample_states(recording, 20, agent=agent)
    assert states.state is None
    assert states.obstacle(agent) == ""
    assert "was not recalled" in states.obstacle(summing_agent())


def test_large_states_are_taken_few_at_once(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = sample_states(recording, 20, agent=summing_agent())
    assert [len(part) for part in states.chunks(8)] == [8, 8, 4]
    # An observation and a state of three numbers each: 24 bytes.
    monkeypatch.setattr(states_of, "CHUNK_BYTES", 5 * 24)
    assert [len(part) for part in states.chunks(8)] == [5, 5, 5, 5]
    monkeypatch.setattr(states_of, "CHUNK_BYTES", 1)
    assert [len(part) for part in states.chunks(8)] == [1] * 20
    monkeypatch.setattr(states_of, "STATE_BYTES", 12 * 12)
    assert len(sample_states(recording, 20, agent=summing_agent())) == 12


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(0, 2)), min_size=1, max_size=40),
    st.integers(1, 300),
    st.integers(0, 9),
)
def test_whole_episodes_are_chosen_until_there_are_enough(
    drawn: list[tuple[int, int]], count: int, seed: int
) -> None:
    """Those whose first steps are missing are not among them."""
    lengths = np.array([length for length, _ in drawn])
    cut = np.array([missing for _, missing in drawn])
    number = np.repeat(np.arange(len(drawn)), lengths)
    step = np.concatenate([np.arange(n) + c for n, c in zip(lengths, cut, strict=True)])
    mixed = np.random.default_rng(seed).permutation(len(number))
    chosen = choose_episodes(number[mixed], step[mixed], count, np.random.default_rng(seed))
    assert (cut[chosen] == 0).all()
    assert len(set(chosen.tolist())) == len(chosen)
    whole = cut == 0
    assert lengths[chosen].sum() >= min(count, lengths[whole].sum())
    few = len(chosen) <= states_of.RECALLED_EPISODES
    assert few or lengths[chosen[:-1]].sum() < count


def test_long_episodes_are_seen_again_only_as_far_as_it_pays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(states_of, "RECALLED_STEPS", 25)
    number, step = np.repeat(np.arange(20), 10), np.tile(np.arange(10), 20)
    assert len(choose_episodes(number, step, 5, np.random.default_rng(0))) == 3
    assert len(choose_episodes(number, step, 55, np.random.default_rng(0))) == 6


def empty(agent: Agent, recording: Recording) -> States:
    states = sample_states(recording, 20, agent=agent)
    assert len(states) == states.episodes == 0
    assert isinstance(states.observation, Tensor)
    assert states.observation.shape == (0, 3)
    assert states.obstacle(agent) == states.reason
    return states


def test_a_state_without_rows_cannot_be_recalled(recording: Recording) -> None:
    agent = FunctionAgent(nn.Linear(3, 2), summing_agent().act, lambda rows: torch.zeros(4))
    assert "no axis of it is the rows" in empty(agent, recording).reason


def test_a_state_that_grows_cannot_be_recalled(recording: Recording) -> None:
    module = summing_agent().module

    def act(observation: Tensor, state: Tensor) -> Any:
        action = recording_actions(recording, observation)
        return action, {}, torch.cat((state, observation[:, :1]), 1)

    agent = FunctionAgent(module, act, lambda rows: torch.zeros(rows, 0))
    assert "changes its shape from step to step" in empty(agent, recording).reason


def test_a_state_that_has_other_parts_later_cannot_be_recalled(recording: Recording) -> None:
    module = summing_agent().module

    def act(observation: Tensor, state: Any) -> Any:
        return recording_actions(recording, observation), {}, (*state, state[0])

    agent = FunctionAgent(module, act, lambda rows: (torch.zeros(rows),))
    assert "has 2 tensors now and had 1" in empty(agent, recording).reason


def recording_actions(recording: Recording, observation: Tensor) -> np.ndarray:
    """What was done in the states that were observed so."""
    seeds, steps = observation[:, SEED].int().tolist(), observation[:, STEP].int().tolist()
    done = [
        recording.episode(e, ("action",))["action"][s] for e, s in zip(seeds, steps, strict=True)
    ]
    return np.array(done)


def test_an_agent_that_acts_otherwise_has_no_states(recording: Recording) -> None:
    agent = summing_agent()
    with torch.no_grad():
        agent.module.get_submodule("fc2").bias[1] -= 1000.0
    assert "does not act again as it was recorded" in empty(agent, recording).reason


def test_without_whole_episodes_there_are_none(recording: Recording) -> None:
    states = sample_states(recording, 20, agent=summing_agent(), episodes=set())
    assert states.reason == "No episode is recorded from its first step on."
