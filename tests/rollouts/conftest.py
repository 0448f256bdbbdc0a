"""What a rollout of the counting environment gives, by episode."""

from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import pytest

from policyscope.address import Site
from policyscope.envs.metric import Metric
from policyscope.recordings.block import Block, env_major
from policyscope.recordings.episode import Episode
from policyscope.rollouts.rollout import Plan, rollout
from policyscope.rollouts.rows import Job
from policyscope.testing.planted import CountingEnvironment, counting_agent

STEP = Metric("step_read", "1", lambda step: step.observation[:, 1])
SITES = (Site.parse("fc1:in"), Site.parse("fc2:in"))


class Played:
    """The samples of a rollout, by (episode, step), and the episodes that ended."""

    def __init__(self, blocks: Iterable[Block]) -> None:
        self.columns: dict[str, np.ndarray] = {}
        self.ended: dict[int, Episode] = {}
        parts: dict[str, list[np.ndarray]] = {}
        self.blocks = 0
        for block in blocks:
            self.blocks += 1
            every = {**block.columns, "episode": block.episode, "step": block.step}
            index = env_major(block.episode)
            for name, values in every.items():
                flat = values.reshape(block.episode.size, *values.shape[2:])
                parts.setdefault(name, []).append(flat[index])
            self.ended |= {episode.index: episode for episode in block.ended}
        joined = {name: np.concatenate(values) for name, values in parts.items()}
        if joined:
            order = np.lexsort((joined["step"], joined["episode"]))
            self.columns = {name: values[order] for name, values in joined.items()}

    def __getitem__(self, column: str) -> np.ndarray:
        return self.columns[column]

    def __len__(self) -> int:
        return len(self.columns["episode"]) if self.columns else 0


class Play:
    """Plays jobs in a fresh counting environment, and keeps the environment."""

    def __call__(
        self, jobs: Sequence[Job], rows: int = 3, *, agent: Any = None, **choices: Any
    ) -> Played:
        self.environment = choices.pop("environment", None) or CountingEnvironment(rows)
        starts = choices.pop("starts", None)
        plan = Plan(**({"reads": SITES, "metrics": (STEP,), "block_steps": 4} | choices))
        agent = agent or counting_agent()
        with closing(rollout(agent, self.environment, jobs, plan, starts)) as blocks:
            return Played(blocks)


@pytest.fixture
def play() -> Play:
    return Play()
