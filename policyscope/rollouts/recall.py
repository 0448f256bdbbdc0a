"""Recall: what state a recurrent agent was in at recorded steps, which no column holds.

The untouched agent is shown whole episodes again, side by side, as they were recorded: its state is
handed on from step to step, and it is told the recorded rewards. Its own actions are part of some
agents' state, so it draws with the recording's noise and thereby chooses the recorded actions. That
is compared at every step: where an episode goes another way, what comes after is left out.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int, Shaped

from policyscope.agents.agent import Agent
from policyscope.agents.noise import AddressedNoise
from policyscope.agents.recurrent_state import RecurrentState, row_axes
from policyscope.progress import Progress, track
from policyscope.recordings.recording import Recording
from policyscope.rollouts.observation import from_columns, observation_columns, on_device
from policyscope.rollouts.record import recording_jobs

SIDE_BY_SIDE = 64
"""Episodes seen at once."""
RELATIVE, ABSOLUTE = 1e-4, 1e-5
"""How far a continuous action may be off: a batch of another size rounds otherwise."""


@dataclass(frozen=True, eq=False)
class Recalled:
    """One step of several episodes: what was observed, and the state the agent was in before."""

    observation: Mapping[str, Shaped[np.ndarray, "row ..."]]
    """By column."""
    state: RecurrentState
    episode: Int[np.ndarray, " row"]
    step: int


def recall(
    agent: Agent, recording: Recording, steps: Mapping[int, Collection[int]]
) -> Iterator[Recalled]:
    """The state of the agent at these steps of these episodes, as far as they go as recorded.

    An episode is seen up to its last step that is asked for; it must be recorded from step 0.
    Raises InvalidInput where the agent's state has no row axis.
    """
    axes = row_axes(agent)
    # Rows that end do so from the last to the first, so those left are always the first ones.
    longest_first = sorted(steps, key=lambda episode: (-max(steps[episode]), episode))
    seeds = {one.index: one.seed for one in recording.episodes}
    total = sum(max(wanted) + 1 for wanted in steps.values())
    with track("Recalling", total, "steps") as progress:
        for first in range(0, len(longest_first), SIDE_BY_SIDE):
            episodes = longest_first[first : first + SIDE_BY_SIDE]
            unknown = [episode for episode in episodes if episode not in seeds]
            seeds |= {episode: seed_of_unended(recording, episode) for episode in unknown}
            again = Again(
                agent,
                recording,
                np.array(episodes),
                [frozenset(steps[episode]) for episode in episodes],
                np.array([seeds[episode] for episode in episodes]),
                axes,
            )
            yield from again.play(progress)


def seed_of_unended(recording: Recording, episode: int) -> int:
    """The seed of an episode whose end was not recorded."""
    return next(recording_jobs(recording.header.seed, episode, None)).seed


@dataclass
class Again:
    """Episodes as rows, the longest first, seen again by the agent that played them."""

    agent: Agent
    recording: Recording
    episodes: Int[np.ndarray, " row"]
    steps: list[frozenset[int]]
    seeds: Int[np.ndarray, " row"]
    axes: tuple[int, ...]

    def play(self, progress: Progress) -> Iterator[Recalled]:
        """The wanted steps, in order of time."""
        agent, header, rows = self.agent, self.recording.header, len(self.episodes)
        every = np.arange(rows)
        lengths = np.array([max(wanted) + 1 for wanted in self.steps])
        noise = AddressedNoise(header.seed, rows)
        noise.begin(every, self.seeds)
        names = observation_columns(self.recording)
        past = [
            each_step(self.recording, int(e), (*names, "action", "reward")) for e in self.episodes
        ]
        state = RecurrentState(agent.reset_state(agent.initial_state(rows), every), self.axes)
        is_alike = np.ones(rows, np.bool_)
        for step in range(int(lengths.max())):
            left = int(np.count_nonzero(lengths > step))
            if left < len(is_alike):
                state, is_alike = state[:left], is_alike[:left]
                noise.keep(np.arange(left))
            now = [np.stack(values) for values in zip(*map(next, past[:left]), strict=True)]
            observation = dict(zip(names, now[:-2], strict=True))
            wanted = np.array([step in steps for steps in self.steps[:left]])
            if (due := np.flatnonzero(wanted & is_alike)).size:
                seen = {name: values[due] for name, values in observation.items()}
                yield Recalled(seen, state[due], self.episodes[due], step)
            with torch.no_grad():
                acted = agent.act(
                    on_device(from_columns(observation), agent.device),
                    state.state,
                    None if header.deterministic else noise,
                )
                reward = torch.from_numpy(now[-1].astype(np.float32)).to(agent.device)
                state = RecurrentState(agent.rewarded(acted.state, reward), self.axes)
            is_alike = is_alike & are_close(acted.action, now[-2])
            noise.advance()
            progress.advance(left)


def each_step(
    recording: Recording, episode: int, columns: tuple[str, ...]
) -> Iterator[tuple[Shaped[np.ndarray, "..."], ...]]:
    """The columns of one episode, step by step."""
    for stretch in recording.stretches(episode, columns):
        yield from zip(*stretch, strict=True)


def are_close(
    now: Shaped[np.ndarray, "row ..."], then: Shaped[np.ndarray, "row ..."]
) -> Bool[np.ndarray, " row"]:
    """In which rows two actions are the same, but for the last digits of quantities."""
    same = np.isclose(now, then, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True)
    return np.asarray(same.reshape(len(same), -1).all(axis=1))
