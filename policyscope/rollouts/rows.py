"""Who plays what: the episode, seed and condition of every row, and how far it has come."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from jaxtyping import Bool, Int

from policyscope.envs.ending import name_ending
from policyscope.envs.environment import Environment, Transition, row_of
from policyscope.recordings.episode import Episode

IDLE = -1
LOOKAHEAD = 64
"""How many jobs are known before they begin, so that their noise is made in one go."""


@dataclass(frozen=True)
class Job:
    """One episode to play: its number, its seed and its condition."""

    episode: int
    seed: int
    condition: int = 0


@dataclass(frozen=True)
class Start:
    """Where a row begins: a job, and how many of its steps are already recorded."""

    job: Job
    done: int = 0


class Rows:
    """The book of a rollout: every row's job; finished rows take the next job of the queue."""

    def __init__(self, starts: list[Start | None], queue: Iterator[Job]) -> None:
        count = len(starts)
        self.queue = queue
        self._waiting: deque[Job] = deque()
        self.episode = np.full(count, IDLE, np.int32)
        self.step = np.zeros(count, np.int32)
        self.seed = np.zeros(count, np.int64)
        self.condition = np.zeros(count, np.int64)
        self.total_reward = np.zeros(count, np.float64)
        for row, start in enumerate(starts):
            if start is not None:
                self._give(row, start.job)
        self.working = int(np.count_nonzero(self.active))
        """How many rows are playing an episode."""

    @property
    def active(self) -> Bool[np.ndarray, " row"]:
        """Rows that are playing an episode."""
        return self.episode != IDLE

    def advance(self, transition: Transition) -> Int[np.ndarray, " ended"]:
        """Counts one step in every row, and returns the rows whose episode it ended."""
        self.step += 1
        self.total_reward += transition.reward
        return (transition.terminated | transition.truncated).nonzero()[0]

    def end(self, row: int, environment: Environment, transition: Transition) -> Episode | None:
        """The facts of the episode that ended in `row`, which then takes its next job, if any."""
        ended = None
        if self.episode[row] != IDLE:
            terminated = bool(transition.terminated[row])
            ended = Episode(
                index=int(self.episode[row]),
                seed=int(self.seed[row]),
                condition=int(self.condition[row]),
                length=int(self.step[row]),
                total_reward=float(self.total_reward[row]),
                ending=name_ending(
                    environment.id,
                    row_of(environment.observation, row),
                    terminated,
                    float(transition.reward[row]),
                ),
                terminated=terminated,
                truncated=not terminated,
            )
            job = self._waiting.popleft() if self._waiting else next(self.queue, None)
            if job is None:
                self.episode[row] = IDLE
                self.step[row] = 0
                self.working -= 1
            else:
                self._give(row, job)
        return ended

    def upcoming(self) -> list[int]:
        """The seeds of the next jobs, which are thereby taken from the queue."""
        self._waiting.extend(islice(self.queue, LOOKAHEAD - len(self._waiting)))
        return [job.seed for job in self._waiting]

    def keep(self, rows: Int[np.ndarray, " kept"]) -> None:
        """Forgets all rows but these."""
        for name in ("episode", "step", "seed", "condition", "total_reward"):
            setattr(self, name, getattr(self, name)[rows])
        self.working = int(np.count_nonzero(self.active))

    def _give(self, row: int, job: Job) -> None:
        self.episode[row] = job.episode
        self.seed[row] = job.seed
        self.condition[row] = job.condition
        self.step[row] = 0
        self.total_reward[row] = 0.0
