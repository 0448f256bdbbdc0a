"""One intervention against none, or an agent alone: returns, intervals and endings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from policyscope.agents.agent import Agent
from policyscope.envs.environment import Environment
from policyscope.experiments.effect import Effect, Interval, mean_interval, paired_difference
from policyscope.interventions.intervention import Intervention
from policyscope.rollouts.evaluate import evaluate_conditions
from policyscope.table import Column, Shown, Table


@dataclass(frozen=True)
class Performance:
    """How well an agent does."""

    environment: str
    total_reward: Interval | None
    mean: float
    std: float
    episodes: int
    steps: int
    endings: Mapping[str, int]
    steps_per_second: float
    deterministic: bool

    def __str__(self) -> str:
        endings = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in self.endings.items())
        shown = str(self.total_reward) if self.total_reward else f"{self.mean:.1f}"
        return f"return {shown} over {self.episodes} episodes (std {self.std:.1f}): {endings}"

    def to_json(self) -> dict[str, Any]:
        """The document of `evaluate --json`."""
        return {
            "environment": self.environment,
            "return_mean": self.mean,
            "return_std": self.std,
            "low": self.total_reward.low if self.total_reward else None,
            "high": self.total_reward.high if self.total_reward else None,
            "episodes": self.episodes,
            "steps": self.steps,
            "endings": dict(self.endings),
            "steps_per_second": self.steps_per_second,
            "deterministic": self.deterministic,
        }


def evaluate(
    agent: Agent,
    make_environment: Callable[[int], Environment],
    *,
    seeds: Sequence[int],
    deterministic: bool = False,
    seed: int = 0,
) -> Performance:
    """Plays one episode per seed and sums up the returns and endings."""
    played = evaluate_conditions(
        agent,
        make_environment,
        {"agent": Intervention()},
        seeds,
        deterministic=deterministic,
        seed=seed,
        label="Evaluating",
    )
    returns = played.outcomes.of("agent")
    interval = None
    if len(returns) > 1:
        interval = mean_interval(returns, generator=np.random.default_rng(seed))
    return Performance(
        environment=played.environment,
        total_reward=interval,
        mean=float(returns.mean()),
        std=float(returns.std(ddof=1)) if len(returns) > 1 else 0.0,
        episodes=len(returns),
        steps=played.steps,
        endings=played.outcomes.endings("agent"),
        steps_per_second=played.steps / max(played.seconds, 1e-9),
        deterministic=deterministic,
    )


@dataclass(frozen=True)
class Comparison(Shown):
    """What one intervention does to the return, paired by seed and action noise."""

    intervention: str
    before: Interval
    after: Interval
    effect: Effect
    endings_before: Mapping[str, int]
    endings_after: Mapping[str, int]

    def table(self) -> Table:
        """Before and after, side by side."""
        names = sorted({*self.endings_before, *self.endings_after})
        columns = (
            Column("", side="left"),
            Column("return", side="left"),
            *(Column(name.replace("_", " "), "d") for name in names),
        )
        rows = (
            ("as it is", str(self.before), *(self.endings_before.get(n, 0) for n in names)),
            (self.intervention, str(self.after), *(self.endings_after.get(n, 0) for n in names)),
        )
        note = (
            f"Difference {self.effect}, p = {self.effect.p:.2g} (paired Student t over "
            f"{self.effect.episodes} episodes with shared seeds and action noise)."
        )
        return Table("Comparison", columns, rows, note)


def compare(
    agent: Agent,
    make_environment: Callable[[int], Environment],
    intervention: Intervention,
    *,
    seeds: Sequence[int],
    deterministic: bool = False,
    seed: int = 0,
) -> Comparison:
    """Plays the agent with and without `intervention` on the same seeds."""
    outcomes = evaluate_conditions(
        agent,
        make_environment,
        {"before": Intervention(), "after": intervention},
        seeds,
        deterministic=deterministic,
        seed=seed,
        label="Comparing",
    ).outcomes
    generator = np.random.default_rng(seed)
    return Comparison(
        intervention=str(intervention),
        before=mean_interval(outcomes.of("before"), generator=generator),
        after=mean_interval(outcomes.of("after"), generator=generator),
        effect=paired_difference(outcomes.of("after"), outcomes.of("before")),
        endings_before=outcomes.endings("before"),
        endings_after=outcomes.endings("after"),
    )
