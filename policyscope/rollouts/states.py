"""Recorded states, drawn to ask an agent about them again: what it observed, and its own state."""

from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from policyscope.agents.agent import Agent
from policyscope.agents.recurrent_state import RecurrentState, row_axes, together
from policyscope.errors import InvalidInput
from policyscope.recordings.recording import Recording
from policyscope.rollouts.observation import Seen, from_columns, observation_columns, on_device
from policyscope.rollouts.recall import Recalled, recall

CHUNK_BYTES = 8 * 2**20
"""What an agent is given at once. It makes several times as much of it, and fresh memory costs more
than larger batches save: measured on pictures of Pong."""
STATE_BYTES = 256 * 2**20
"""Recurrent states kept: a window of past observations can be far larger than one of them."""
MOSTLY = 0.5
"""The share of states to be recalled, below which those that are would be no fair sample."""
RECALLED_EPISODES = 16
RECALLED_STEPS = 16_384
"""Steps after which no more episodes are seen again, once there are as many as were asked for."""


@dataclass(frozen=True, eq=False)
class States:
    """Recorded states, the episodes they are from, and what state a recurrent agent was in."""

    observation: Seen
    episode: Int[np.ndarray, " state"]
    state: RecurrentState | None = None
    """The agent's own, before it observed; None where it has none, or it is not known."""
    reason: str = ""
    """Why there are no states, where there are none."""

    def __len__(self) -> int:
        return len(self.episode)

    @property
    def episodes(self) -> int:
        """How many episodes they are from."""
        return len(np.unique(self.episode))

    def __getitem__(self, rows: slice | Int[np.ndarray, " _"]) -> "States":
        if isinstance(self.observation, dict):
            observation: Seen = {part: values[rows] for part, values in self.observation.items()}
        else:
            observation = self.observation[rows]
        state = None if self.state is None else self.state[rows]
        return States(observation, self.episode[rows], state, self.reason)

    def chunks(self, size: int) -> Iterator["States"]:
        """The states in order, at most `size` at once, and fewer where they are large."""
        size = self.chunk_size(size)
        return (self[first : first + size] for first in range(0, len(self), size))

    def chunk_size(self, most: int) -> int:
        """How many states an agent can be asked about at once."""
        parts = (
            self.observation.values() if isinstance(self.observation, dict) else [self.observation]
        )
        total = sum(part.nbytes for part in parts) + (self.state.nbytes if self.state else 0)
        return max(1, min(most, CHUNK_BYTES * len(self) // max(total, 1)))

    def to(self, device: torch.device) -> tuple[Seen, Any]:
        """The observations and the agent's state, as an agent on `device` takes them."""
        state = None if self.state is None else self.state.on(device).state
        return on_device(self.observation, device), state

    def obstacle(self, agent: Agent) -> str:
        """Why `agent` cannot be asked about these states; empty where it can."""
        if not len(self):
            return self.reason or "There are no recorded states."
        if self.state is None and agent.initial_state(1) is not None:
            return "The agent has a state of its own, which was not recalled for these states."
        return ""


def sample_states(
    recording: Recording,
    count: int,
    *,
    agent: Agent | None = None,
    seed: int = 0,
    episodes: Set[int] | None = None,
) -> States:
    """Up to `count` recorded states, drawn evenly from `episodes` (all, where None).

    Those of a recurrent `agent` come with the state it was in, for which it sees whole episodes
    again: some, drawn at random, and never one whose beginning was not recorded. It may be that
    none can be had; their `reason` then says why.
    """
    episode = np.asarray(recording.read("episode"))
    among = np.arange(len(episode))
    if episodes is not None:
        among = np.flatnonzero(np.isin(episode, list(episodes)))
    generator = np.random.default_rng(seed)
    if agent is not None and agent.initial_state(1) is not None:
        return recalled_states(agent, recording, among, count, generator)
    chosen = np.sort(generator.permutation(among)[:count])
    columns = observation_columns(recording)
    parts: list[list[np.ndarray]] = [[] for _ in columns]
    first = 0
    for arrays in recording.iterate("episode", *columns):
        last = first + len(arrays[0])
        here = chosen[(chosen >= first) & (chosen < last)] - first
        for part, array in zip(parts, arrays[1:], strict=True):
            part.append(np.array(array[here]))
        first = last
    found = {name: np.concatenate(part) for name, part in zip(columns, parts, strict=True)}
    return States(from_columns(found), episode[chosen])


def recalled_states(
    agent: Agent,
    recording: Recording,
    among: Int[np.ndarray, " sample"],
    count: int,
    generator: np.random.Generator,
) -> States:
    """Up to `count` of the samples `among`, each with the state the agent was in."""
    number = np.asarray(recording.read("episode"))[among]
    step = np.asarray(recording.read("step"))[among]
    chosen = choose_episodes(number, step, count, generator)
    if not len(chosen):
        return no_states(recording, "No episode is recorded from its first step on.")
    pool = np.flatnonzero(np.isin(number, chosen))
    try:
        bytes_each = RecurrentState(agent.initial_state(1), row_axes(agent)).nbytes
        most = max(1, min(count, STATE_BYTES // max(bytes_each, 1)))
        drawn = generator.permutation(pool)[:most]
        wanted = {
            int(e): set(step[drawn][number[drawn] == e].tolist()) for e in np.unique(number[drawn])
        }
        seen = [
            Recalled(one.observation, one.state.on(torch.device("cpu")), one.episode, one.step)
            for one in recall(agent, recording, wanted)
        ]
        found = sum(len(one.episode) for one in seen)
        if found < MOSTLY * len(drawn):
            return no_states(
                recording,
                f"The agent does not act again as it was recorded: {found} of {len(drawn)} states "
                "could be recalled, and those early in their episodes.",
            )
        state = together([one.state for one in seen])
    except InvalidInput as error:
        return no_states(recording, str(error))
    columns = {
        name: np.concatenate([one.observation[name] for one in seen])
        for name in seen[0].observation
    }
    episode = np.concatenate([one.episode for one in seen])
    return States(from_columns(columns), episode, state)


def choose_episodes(
    number: Int[np.ndarray, " sample"],
    step: Int[np.ndarray, " sample"],
    count: int,
    generator: np.random.Generator,
) -> Int[np.ndarray, " episode"]:
    """Episodes recorded from step 0 on, drawn at random until they have `count` steps.

    A few more where those are few, since the steps of one episode are alike.
    """
    numbers, inverse, lengths = np.unique(number, return_inverse=True, return_counts=True)
    last = np.zeros(len(numbers), np.int64)
    np.maximum.at(last, inverse, step)
    # Steps are distinct, so as many as the last one's number says are all of them.
    whole = generator.permutation(np.flatnonzero(lengths == last + 1))
    before = np.cumsum(lengths[whole]) - lengths[whole]
    is_few = (np.arange(len(whole)) < RECALLED_EPISODES) & (before < RECALLED_STEPS)
    return numbers[whole[(before < count) | is_few]]


def no_states(recording: Recording, reason: str) -> States:
    """Nothing, and why."""
    empty = {
        name: np.empty((0, *recording.spec(name).shape), recording.spec(name).dtype)
        for name in observation_columns(recording)
    }
    return States(from_columns(empty), np.zeros(0, np.int64), reason=reason)
