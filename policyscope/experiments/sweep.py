"""A sweep: every feature at every strength, all episodes at once, against a paired baseline.

Each row of a vector environment carries its own intervention, so the whole table is one rollout.
Every condition meets the same episode seeds and the same action noise as the unedited agent.
Beside the features play random directions of the same norm: a feature must do more than they do.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from policyscope.agents.agent import Agent
from policyscope.agents.hooks import Hooks
from policyscope.dictionaries.feature import Feature
from policyscope.envs.ending import endings_of
from policyscope.envs.environment import Environment
from policyscope.envs.metric import Metric
from policyscope.errors import InvalidInput
from policyscope.experiments.directions import random_directions
from policyscope.experiments.effect import (
    Band,
    Effect,
    Interval,
    band,
    correct,
    mean_interval,
    paired_difference,
)
from policyscope.interventions.intervention import Intervention
from policyscope.interventions.program import Program
from policyscope.interventions.steer import steer
from policyscope.interventions.target import writes_of
from policyscope.rollouts.evaluate import Trajectory, evaluate_conditions
from policyscope.rollouts.observation import States
from policyscope.rollouts.outcomes import Outcomes, check_distinct
from policyscope.table import Column, Table

BASELINE = "baseline"
LEVEL = 0.05
"""The accepted share of false finds among the conditions that are shown."""


@dataclass(frozen=True, eq=False)
class Condition:
    """One feature at one strength: what the agent then returned, and against what."""

    feature: Feature
    alpha: float
    total_reward: Interval
    effect: Effect
    p_corrected: float
    endings: Mapping[str, int]
    action_agreement: float
    """Share of recorded states in which the most likely action stays the same; NaN if not asked."""
    random: Band | None
    """Where the effect of a random direction of equal norm and strength falls."""

    @property
    def is_confirmed(self) -> bool:
        """Whether the effect holds after correction and random directions do not have it too."""
        beyond = self.random is None or not self.random.contains(self.effect.difference)
        return self.is_shown and beyond

    @property
    def is_shown(self) -> bool:
        """Whether the effect holds after correction over the table."""
        return self.p_corrected < LEVEL

    def to_json(self) -> dict[str, Any]:
        """The entry of `sweep --json`."""
        return {
            "feature": self.feature.index,
            "address": str(self.feature.address),
            "alpha": self.alpha,
            "return_mean": self.total_reward.value,
            "low": self.total_reward.low,
            "high": self.total_reward.high,
            "difference": self.effect.difference,
            "difference_low": self.effect.low,
            "difference_high": self.effect.high,
            "p": self.effect.p,
            "p_corrected": self.p_corrected,
            "endings": dict(self.endings),
            "action_agreement": None
            if math.isnan(self.action_agreement)
            else self.action_agreement,
            "random_low": None if self.random is None else self.random.low,
            "random_high": None if self.random is None else self.random.high,
            "confirmed": self.is_confirmed,
        }


@dataclass(frozen=True, eq=False)
class Sweep:
    """The table of a sweep, its baseline, and the first episode of every condition."""

    dictionary: str
    environment: str
    conditions: tuple[Condition, ...]
    baseline: Interval
    baseline_endings: Mapping[str, int]
    seeds: tuple[int, ...]
    random_directions: int
    steps: int
    trajectories: tuple[Trajectory, ...] = field(default=(), repr=False)
    outcomes: Outcomes | None = field(default=None, repr=False)

    @property
    def confirmed(self) -> tuple[Condition, ...]:
        """Conditions that hold after correction and beat random directions."""
        return tuple(condition for condition in self.conditions if condition.is_confirmed)

    def of(self, feature: int) -> tuple[Condition, ...]:
        """The dose–response of one feature, by rising strength."""
        mine = [c for c in self.conditions if c.feature.index == feature]
        return tuple(sorted(mine, key=lambda condition: condition.alpha))

    def table(self) -> Table:
        """One row per condition."""
        names = endings_of(self.environment)
        columns = (
            Column("feature", side="left"),
            Column("α", "+g"),
            Column("return", side="left"),
            Column("difference", side="left"),
            Column("p (BH)", ".2g"),
            Column("random", side="left"),
            Column("same action", ".0%"),
            *(Column(name.replace("_", " "), "d") for name in names),
            Column("verdict", side="left"),
        )
        first = ("baseline", None, str(self.baseline), None, None, None, None)
        rows: list[tuple[Any, ...]] = [
            (*first, *(self.baseline_endings.get(name, 0) for name in names), None)
        ]
        for c in self.conditions:
            span = None if c.random is None else f"[{c.random.low:+.0f}, {c.random.high:+.0f}]"
            rows.append(
                (
                    str(c.feature.address),
                    c.alpha,
                    str(c.total_reward),
                    str(c.effect),
                    c.p_corrected,
                    span,
                    c.action_agreement,
                    *(c.endings.get(name, 0) for name in names),
                    self.verdict(c),
                )
            )
        return Table(f"Sweep of {self.dictionary}", columns, tuple(rows), self.note())

    @staticmethod
    def verdict(condition: Condition) -> str:
        """What one condition shows, in one word."""
        if condition.is_confirmed:
            return "raises" if condition.effect.difference > 0 else "lowers"
        if condition.is_shown:
            return "as random"
        return "no effect shown"

    def note(self) -> str:
        """What the numbers rest on."""
        return (
            f"{len(self.seeds)} episodes per condition, paired by seed and action noise; 95 % "
            "intervals (difference: Student t); p corrected over the table by Benjamini–Hochberg; "
            f"random: {self.random_directions} directions of equal norm and strength. "
            "A verdict needs p < 0.05 and an effect outside the random interval."
        )

    def __str__(self) -> str:
        return str(self.table())

    def __rich__(self) -> Any:
        return self.table().__rich__()

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def to_json(self) -> dict[str, Any]:
        """The document of `sweep --json`."""
        bands: dict[str, Any] = {}
        for condition in self.conditions:
            if condition.random is not None:
                bands[f"{condition.feature.index}@{condition.alpha:g}"] = {
                    "low": condition.random.low,
                    "high": condition.random.high,
                }
        return {
            "dictionary": self.dictionary,
            "environment": self.environment,
            "episodes": len(self.seeds),
            "steps": self.steps,
            "baseline": {
                "return_mean": self.baseline.value,
                "low": self.baseline.low,
                "high": self.baseline.high,
                "endings": dict(self.baseline_endings),
            },
            "conditions": [condition.to_json() for condition in self.conditions],
            "random_band": {
                "directions": self.random_directions,
                "by_condition": bands,
                "low": min((b["low"] for b in bands.values()), default=None),
                "high": max((b["high"] for b in bands.values()), default=None),
            },
            "trajectories": {
                trajectory.condition: {
                    name: np.round(values.astype(float), 4).tolist()
                    for name, values in trajectory.metrics.items()
                }
                for trajectory in self.trajectories
            },
        }


def sweep(
    agent: Agent,
    make_environment: Callable[[int], Environment],
    features: Sequence[Feature],
    alphas: Sequence[float],
    *,
    seeds: Sequence[int],
    random: int = 39,
    deterministic: bool = False,
    seed: int = 0,
    metrics: Sequence[Metric] = (),
    states: States | None = None,
) -> Sweep:
    """Steers every feature by every α, `len(seeds)` episodes each, all at once.

    α multiplies the feature's decoder direction: h + α·w. `random` directions of each feature's
    norm play at the same strengths. `states` of a recording are for the action
    agreement. Raises InvalidInput for no features, strengths or a feature that writes nothing.
    """
    check_sweep(features, alphas, seeds, random)
    pushes = {f"{f.address} {alpha:+g}": steer(f, alpha) for f in features for alpha in alphas}
    controls = control_pushes(features, alphas, random, seed)
    played = evaluate_conditions(
        agent,
        make_environment,
        {BASELINE: Intervention(), **pushes, **controls},
        seeds,
        deterministic=deterministic,
        seed=seed,
        metrics=metrics,
        label="Sweeping",
    )
    outcomes = played.outcomes
    baseline = outcomes.of(BASELINE)
    effects = [paired_difference(outcomes.of(name), baseline) for name in pushes]
    corrected = correct(np.array([effect.p for effect in effects]), "benjamini-hochberg")
    agreement = action_agreement(agent, list(pushes.values()), states)
    generator = np.random.default_rng(seed)
    settings = [(feature, alpha) for feature in features for alpha in alphas]
    conditions = tuple(
        Condition(
            feature=feature,
            alpha=float(alpha),
            total_reward=mean_interval(outcomes.of(name), generator=generator),
            effect=effect,
            p_corrected=float(p),
            endings=outcomes.endings(name),
            action_agreement=float(same),
            random=random_band(outcomes, feature, alpha, random),
        )
        for (feature, alpha), name, effect, p, same in zip(
            settings, pushes, effects, corrected, agreement, strict=True
        )
    )
    shown = {BASELINE, *pushes}
    return Sweep(
        dictionary=features[0].dictionary.name,
        environment=played.environment,
        conditions=conditions,
        baseline=mean_interval(baseline, generator=generator),
        baseline_endings=outcomes.endings(BASELINE),
        seeds=tuple(int(s) for s in seeds),
        random_directions=random,
        steps=played.steps,
        trajectories=tuple(t for t in played.trajectories if t.condition in shown),
        outcomes=outcomes,
    )


def check_sweep(
    features: Sequence[Feature], alphas: Sequence[float], seeds: Sequence[int], random: int
) -> None:
    """Raises InvalidInput for a sweep that cannot say anything."""
    if not features:
        raise InvalidInput("A sweep needs at least one feature.")
    check_distinct("feature", [str(feature.address) for feature in features])
    if not alphas or not np.isfinite(list(alphas)).all():
        raise InvalidInput(f"A sweep needs finite strengths; got {list(alphas)}.")
    check_distinct("strength", [f"{alpha:+g}" for alpha in alphas])
    if random < 0 or random == 1:
        raise InvalidInput(f"A band needs at least 2 random directions (or none); got {random}.")
    if len(seeds) < 2:
        raise InvalidInput(f"A sweep needs at least 2 episodes per condition; got {len(seeds)}.")


def control_pushes(
    features: Sequence[Feature], alphas: Sequence[float], count: int, seed: int
) -> dict[str, Intervention]:
    """Random directions with the norm of each feature, at each strength."""
    pushes: dict[str, Intervention] = {}
    for feature in features:
        site, length = writes_of(feature.dictionary), feature.direction.norm()
        generator = torch.Generator().manual_seed(seed)
        for index, unit in enumerate(random_directions(count, len(feature.direction), generator)):
            for alpha in alphas:
                name = control_name(feature, alpha, index)
                pushes[name] = steer(site, alpha, unit * length.cpu())
    return pushes


def control_name(feature: Feature, alpha: float, index: int) -> str:
    """How the outcomes call one random direction."""
    return f"random {index} as {feature.address} {alpha:+g}"


def random_band(outcomes: Outcomes, feature: Feature, alpha: float, count: int) -> Band | None:
    """The band of the random directions beside one feature and strength."""
    if count < 2:
        return None
    baseline = outcomes.of(BASELINE)
    names = [control_name(feature, alpha, index) for index in range(count)]
    return band(np.array([float((outcomes.of(name) - baseline).mean()) for name in names]))


def action_agreement(
    agent: Agent,
    interventions: Sequence[Intervention],
    states: States | None,
) -> Float[np.ndarray, " condition"]:
    """The share of states in which the edited agent's most likely action is the unedited one's.

    NaN without states, and for agents with recurrent state, whose state was not recorded.
    """
    unknown = np.full(len(interventions), np.nan)
    if states is None or len(states) == 0 or agent.initial_state(1) is not None:
        return unknown
    seen = states.to(agent.device)
    with torch.no_grad():
        plain = agent.act(seen, None, None).action
        agreement = np.empty(len(interventions))
        for index, intervention in enumerate(interventions):
            program = Program([intervention])
            program.assign(torch.zeros(len(states), dtype=torch.long, device=agent.device))
            with Hooks(agent.module, program.requires, program.edits) as hooks:
                edited = hooks.run(agent.act, seen, None, None).action
            same = (edited == plain).reshape(len(states), -1).all(axis=1)
            agreement[index] = same.mean()
    return agreement
