"""Recall: a recurrent agent is found in the very state it was in when it was recorded."""

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from policyscope.agents.adapters.function import FunctionAgent
from policyscope.agents.adapters.trajectory_transformer import Size, TrajectoryTransformer
from policyscope.agents.agent import Acted, Agent, choose
from policyscope.agents.loading import open_agent
from policyscope.envs.environment import Environment
from policyscope.envs.make import make
from policyscope.recordings.recording import Recording
from policyscope.rollouts import recall as recalling
from policyscope.rollouts import record as recorder
from policyscope.rollouts.observation import from_columns
from policyscope.rollouts.recall import Recalled, recall
from policyscope.rollouts.record import record_rollout
from policyscope.testing.planted import CountingEnvironment, PayingEnvironment, summing_agent

REPOSITORY = Path(__file__).parents[2]
AGENTS = Path(os.environ.get("POLICYSCOPE_AGENTS", REPOSITORY.parent / "shared" / "agents"))


class LSTMAgent(FunctionAgent):
    """An LSTM with random weights; its state is [layer, row, unit], as torch's is."""

    def __init__(self) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.lstm, self.head = nn.LSTM(3, 5, num_layers=2), nn.Linear(5, 2)
        super().__init__(nn.ModuleList([self.lstm, self.head]), self.choose)

    def choose(self, observation: Tensor, state: Any, noise: Any) -> Acted:
        said, state = self.lstm(observation.unsqueeze(0), state)
        logits = self.head(said[0])
        return Acted(choose(logits, noise), {"logits": logits}, state)

    def initial_state(self, rows: int) -> tuple[Tensor, Tensor]:
        return torch.zeros(2, rows, 5), torch.zeros(2, rows, 5)

    def reset_state(self, state: Any, rows: Any) -> Any:
        return tuple(part.index_fill(1, torch.from_numpy(rows), 0.0) for part in state)


class ConditionedAgent(FunctionAgent):
    """Acts by what it did last and by what it has earned, which only its state knows."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(2, 2), self.choose, self.begin)
        with torch.no_grad():
            self.module.weight.copy_(torch.tensor([[0.5, -0.25], [-0.5, 0.25]]))
            self.module.bias.zero_()

    def begin(self, rows: int) -> dict[str, Tensor]:
        return {"last": torch.zeros(rows), "earned": torch.zeros(rows)}

    def choose(self, observation: Tensor, state: Any, noise: Any) -> Acted:
        logits = self.module(torch.stack([state["last"], state["earned"]], 1))
        action = choose(logits, noise)
        return Acted(
            action, {"logits": logits}, {**state, "last": torch.from_numpy(action).float()}
        )

    def rewarded(self, state: Any, reward: Tensor) -> Any:
        return {**state, "earned": state["earned"] + reward}


def transformer() -> Agent:
    size = Size(8, 1, 2, 4, 8, tokens=8, observation=3, actions=2, times=20, is_gated=True,
                is_normed=True)  # fmt: skip
    agent = TrajectoryTransformer(size)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in agent.module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return agent


MAKERS: dict[str, Callable[[], Agent]] = {
    "summing": summing_agent,
    "lstm": LSTMAgent,
    "conditioned": ConditionedAgent,
    "transformer": transformer,
}


def record(
    agent: Agent,
    directory: Path,
    environment: Callable[[int], Environment] = PayingEnvironment,
    **choices: Any,
) -> Recording:
    choices = {"steps": None if "episodes" in choices else 100, "rows": 3} | choices
    return record_rollout(agent, environment, directory / "main", sites=(), **choices)


def recall_all(agent: Agent, recording: Recording) -> list[Recalled]:
    episodes = np.unique(recording.read("episode")).tolist()
    steps = {e: recording.episode(e, ("step",))["step"].tolist() for e in episodes}
    return list(recall(agent, recording, steps))


def assert_outputs_are_those_recorded(agent: Agent, recording: Recording) -> None:
    """At every recorded step, bar the rounding of another batch size."""
    found = recall_all(agent, recording)
    assert sum(len(one.episode) for one in found) == recording.steps
    outputs = [spec.name for spec in recording.header.columns if spec.kind == "output"]
    assert "logits" in outputs
    for one in found:
        with torch.no_grad():
            seen = from_columns(one.observation)
            acted = agent.act(seen, one.state.state, None)
        for row, episode in enumerate(one.episode.tolist()):
            then = recording.episode(episode, outputs)
            for name in outputs:
                now = acted.outputs[name][row].numpy()
                np.testing.assert_allclose(now, then[name][one.step], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("kind", MAKERS)
def test_recalled_outputs_are_those_recorded(
    kind: str, deterministic: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over episodes that end and one that is cut, over several shards, and in several batches."""
    monkeypatch.setattr(recorder, "SHARD_ROWS", 15)
    monkeypatch.setattr(recalling, "SIDE_BY_SIDE", 5)
    agent = MAKERS[kind]()
    recording = record(agent, tmp_path, deterministic=deterministic)
    assert len(recording.shards) > 2
    assert len(recording.episodes) < len(np.unique(recording.read("episode")))
    assert_outputs_are_those_recorded(agent, recording)


def test_a_state_that_sums_is_the_sum_of_what_was_observed(tmp_path: Path) -> None:
    agent = summing_agent()
    recording = record(agent, tmp_path, CountingEnvironment, episodes=12)
    for one in recall_all(agent, recording):
        for row, episode in enumerate(one.episode.tolist()):
            seen = recording.episode(episode, ("observation",))["observation"]
            np.testing.assert_array_equal(one.state.state[row], seen[: one.step].sum(0))
            np.testing.assert_array_equal(one.observation["observation"][row], seen[one.step])


def test_only_the_steps_asked_for_are_recalled(tmp_path: Path) -> None:
    agent = summing_agent()
    recording = record(agent, tmp_path, episodes=4)
    found = list(recall(agent, recording, {2: {5}, 0: {1, 5}}))
    assert [(one.step, one.episode.tolist()) for one in found] == [(1, [0]), (5, [0, 2])]


def test_an_episode_is_left_out_from_where_it_goes_another_way(tmp_path: Path) -> None:
    agent = summing_agent()
    recording = record(agent, tmp_path, episodes=6)
    with torch.no_grad():
        agent.module.get_submodule("fc2").bias[0] += 100.0
    found = recall_all(agent, recording)
    recalled = {(e, one.step) for one in found for e in one.episode.tolist()}
    for episode in range(6):
        action = recording.episode(episode, ("action",))["action"]
        # It takes action 0 now, and is left out after the first step at which that was not taken.
        same = int(np.argmax(np.append(action, 1) != 0))
        assert {step for e, step in recalled if e == episode} == set(range(min(same + 1, 8)))


@pytest.mark.parametrize(
    ("file", "environment", "arguments", "needs", "steps"),
    [
        ("memorydt_minigrid/MemoryGatedMLP.pt", "MiniGrid-MemoryS7FixedStart-v0",
         {"one_hot": True}, "minigrid", 60),
        ("ppo_lstm_minigrid_memory/Test-PPO-LSTM_06.pt", "MiniGrid-MemoryS7FixedStart-v0",
         {}, "minigrid", 200),
        ("baby_a3c_pong/model.80.tar", "Pong-v4", {}, "ale_py", 40),
    ],
)  # fmt: skip
def test_other_peoples_agents_are_recalled(
    file: str, environment: str, arguments: Any, needs: str, steps: int, tmp_path: Path
) -> None:
    if not (AGENTS / file).exists() or find_spec(needs) is None:
        pytest.skip(f"there is no {AGENTS / file} or no {needs}")
    agent = open_agent(str(AGENTS / file))
    recording = record(
        agent, tmp_path, lambda rows: make(environment, rows, **arguments), steps=steps, rows=2
    )
    assert_outputs_are_those_recorded(agent, recording)
