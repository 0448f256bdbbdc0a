"""Playing many conditions with the same seeds, all at once."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from policyscope.agents.agent import Agent
from policyscope.envs.environment import Environment
from policyscope.envs.metric import Metric
from policyscope.errors import InvalidInput
from policyscope.interventions.intervention import Intervention
from policyscope.progress import track
from policyscope.recordings.block import Block
from policyscope.rollouts.outcomes import Outcomes, check_distinct
from policyscope.rollouts.rollout import Plan, rollout
from policyscope.rollouts.rows import Job

MAX_ROWS = 2048
"""Where the steps per second of vectorised CartPole level off."""
BLOCK_STEPS = 32
"""Few, as noise made ahead for a block is lost where an edit soon ends the episode."""


@dataclass(frozen=True, eq=False)
class Trajectory:
    """The metrics of one episode, step by step."""

    condition: str
    seed: int
    metrics: Mapping[str, Float[np.ndarray, " step"]]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The outcomes of every condition, and the first seed's trajectory under each."""

    environment: str
    outcomes: Outcomes
    trajectories: tuple[Trajectory, ...]
    steps: int
    seconds: float


def evaluate_conditions(
    agent: Agent,
    make_environment: Callable[[int], Environment],
    conditions: Mapping[str, Intervention],
    seeds: Sequence[int],
    *,
    deterministic: bool = False,
    seed: int = 0,
    rows: int | None = None,
    metrics: Sequence[Metric] = (),
    label: str = "Playing",
) -> Evaluation:
    """Plays every condition with every seed, each row of the environment carrying its own edit.

    Conditions meet the same initial states and the same action noise at equal seeds. `metrics` are
    kept for the first seed's episode of each condition.
    """
    if not conditions or not seeds:
        raise InvalidInput(
            f"Asked to play {len(conditions)} conditions with {len(seeds)} episodes each; "
            "expected at least one of both."
        )
    check_distinct("seed", seeds)
    names = tuple(conditions)
    jobs = [
        Job(episode * len(names) + condition, int(episode_seed), condition)
        for episode, episode_seed in enumerate(seeds)
        for condition in range(len(names))
    ]
    environment = make_environment(min(rows or MAX_ROWS, len(jobs)))
    plan = Plan(
        conditions=tuple(conditions.values()),
        metrics=metrics,
        deterministic=deterministic,
        seed=seed,
        keep=(),
        block_steps=BLOCK_STEPS,
        compact=True,
    )
    shape = (len(names), len(seeds))
    total, length = np.zeros(shape), np.zeros(shape, np.int64)
    ending = [[""] * len(seeds) for _ in names]
    first = FirstEpisodes(metrics, len(names))
    steps, began = 0, time.perf_counter()
    try:
        with (
            track(label, len(jobs), "episodes") as progress,
            closing(rollout(agent, environment, jobs, plan)) as blocks,
        ):
            for block in blocks:
                for done in block.ended:
                    episode = done.index // len(names)
                    total[done.condition, episode] = done.total_reward
                    length[done.condition, episode] = done.length
                    ending[done.condition][episode] = done.ending
                    steps += done.length
                first.take(block)
                progress.advance(len(block.ended), f"{steps:,} steps")
    finally:
        environment.close()
    outcomes = Outcomes(names, tuple(map(int, seeds)), total, length, tuple(map(tuple, ending)))
    return Evaluation(
        environment.id,
        outcomes,
        first.trajectories(names, int(seeds[0])),
        steps,
        time.perf_counter() - began,
    )


class FirstEpisodes:
    """Gathers the metrics of the first seed's episode of every condition."""

    def __init__(self, metrics: Sequence[Metric], conditions: int) -> None:
        self.metrics = tuple(metrics)
        self.conditions = conditions
        self.parts: list[tuple[np.ndarray, np.ndarray, list[np.ndarray]]] = []

    def take(self, block: Block) -> None:
        """Takes what the block holds of them."""
        if not self.metrics:
            return
        at = np.nonzero((block.episode >= 0) & (block.episode < self.conditions))
        if len(at[0]):
            values = [block.columns[metric.name][at] for metric in self.metrics]
            self.parts.append((block.episode[at], block.step[at], values))

    def trajectories(self, names: Sequence[str], seed: int) -> tuple[Trajectory, ...]:
        """One per condition, in step order."""
        if not self.parts:
            return ()
        episode = np.concatenate([part[0] for part in self.parts])
        step = np.concatenate([part[1] for part in self.parts])
        values = [
            np.concatenate([part[2][i] for part in self.parts]) for i in range(len(self.metrics))
        ]
        made = []
        for condition, name in enumerate(names):
            at = np.flatnonzero(episode == condition)
            at = at[np.argsort(step[at])]
            series = {m.name: v[at] for m, v in zip(self.metrics, values, strict=True)}
            made.append(Trajectory(name, seed, series))
        return tuple(made)
