"""A sweep: every feature at every strength, all episodes at once, against a paired baseline.

Each row of a vector environment carries its own intervention, so the whole table is one rollout.
Every condition meets the same episode seeds and the same action noise as the unedited agent.
Beside the features play random directions of the same norm: a feature must do more than they do.
A verdict therefore rests on two p, both corrected over the whole table: that the return changes at
all (paired t, Benjamini–Hochberg), and that it changes by more than random directions do anywhere
in the table (see `beyond_random`). Only where both are small is a condition confirmed.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped

from policyscope.agents.agent import Agent
from policyscope.agents.hooks import Hooks
from policyscope.dictionaries.feature import Feature
from policyscope.document import strict
from policyscope.envs.ending import endings_of
from policyscope.envs.environment import Environment
from policyscope.envs.metric import Metric
from policyscope.errors import InvalidInput
from policyscope.experiments.directions import random_directions
from policyscope.experiments.effect import (
    LEVEL,
    Band,
    Effect,
    Interval,
    band,
    beyond_random,
    correct,
    fewest_directions,
    mean_interval,
    paired_difference,
)
from policyscope.interventions.intervention import Intervention
from policyscope.interventions.program import Program
from policyscope.interventions.steer import steer
from policyscope.interventions.target import writes_of
from policyscope.rollouts.agreement import action_distance, same_action
from policyscope.rollouts.evaluate import Trajectory, evaluate_conditions
from policyscope.rollouts.outcomes import Outcomes, check_distinct
from policyscope.rollouts.states import States
from policyscope.table import Column, Shown, Table

BASELINE = "baseline"
ROWS_AT_ONCE = 4096


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
    """Share of recorded states in which the most likely action stays the same.

    NaN if not asked, and for continuous actions, which are hardly ever equal to the last bit.
    """
    action_distance: float
    """For continuous actions: how far they move, in their standard deviations; else NaN."""
    random: Band | None
    """Where one more random direction of equal norm and strength falls, for this condition alone:
    a 95 % band is left by chance in one condition of twenty."""
    p_random: float
    """That random directions do as much anywhere in the table, see `beyond_random`; NaN without."""

    @property
    def p_verdict(self) -> float:
        """The larger of both p, each corrected over the table; NaN without random directions."""
        return float(np.maximum(self.p_corrected, self.p_random))

    @property
    def is_confirmed(self) -> bool:
        """Whether the effect is real and beyond that of random directions, both after correction.

        Never without random directions to compare with, or with too few to tell.
        """
        return self.p_verdict <= LEVEL

    @property
    def is_shown(self) -> bool:
        """Whether the effect holds after correction over the table."""
        return self.p_corrected <= LEVEL

    @property
    def verdict(self) -> str:
        """What the condition shows, in a few words."""
        if not self.is_shown:
            return "no effect shown"
        if self.random is None:
            return "not compared with random"
        if len(self.random.effects) < fewest_directions():
            return "too few random directions"
        if not self.is_confirmed:
            return "as random"
        return "raises" if self.effect.difference > 0 else "lowers"

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
            "action_agreement": strict(self.action_agreement),
            "action_distance": strict(self.action_distance),
            "random_low": None if self.random is None else self.random.low,
            "random_high": None if self.random is None else self.random.high,
            "p_random": strict(self.p_random),
            "p_verdict": strict(self.p_verdict),
            "confirmed": self.is_confirmed,
            "verdict": self.verdict,
        }


@dataclass(frozen=True, eq=False)
class Sweep(Shown):
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
            Column("p random", ".2g"),
            Column("same action", ".0%"),
            *(Column(name.replace("_", " "), "d") for name in names),
            Column("verdict", side="left"),
        )
        first = ("baseline", None, str(self.baseline), None, None, None, None, None)
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
                    c.p_random,
                    c.action_agreement,
                    *(c.endings.get(name, 0) for name in names),
                    c.verdict,
                )
            )
        return Table(f"Sweep of {self.dictionary}", columns, tuple(rows), self.note())

    def note(self) -> str:
        """What the numbers rest on."""
        return (
            f"{len(self.seeds)} episodes per condition, paired by seed and action noise; 95 % "
            "intervals (difference: Student t); p corrected over the table by Benjamini–Hochberg. "
            f"{self.note_on_random()}"
        )

    def note_on_random(self) -> str:
        """What the comparison with random directions can tell."""
        count, fewest = self.random_directions, fewest_directions()
        if count == 0:
            return "Not compared with random directions, so that nothing is confirmed."
        level = max((c.random.level for c in self.conditions if c.random), default=math.nan)
        text = (
            f"Random: where {level:.0%} of directions of equal norm and strength fall, from "
            f"{count}; per condition and not corrected, so that of {len(self.conditions)} "
            f"conditions of random directions about {(1 - level) * len(self.conditions):.1f} "
            "would lie outside. "
        )
        if count < fewest:
            return text + (
                f"Nothing can be confirmed with {count} random directions: their p is never below "
                f"{1 / (1 + count):.2g}; {fewest} are needed."
            )
        return text + (
            "p random: the chance that they do as much anywhere in the table (max-T). "
            f"A verdict needs both p at or below {LEVEL:g}."
        )

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
    norm play at the same strengths; with fewer than 19 nothing can be confirmed. `states` of a
    recording are for the action agreement. Raises InvalidInput for no features, strengths or a
    feature that writes nothing.
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
    agreement, distance = compare_actions(agent, list(pushes.values()), states)
    generator = np.random.default_rng(seed)
    settings = [(feature, alpha) for feature in features for alpha in alphas]
    controls_did = [random_effects(outcomes, feature, alpha, random) for feature, alpha in settings]
    did = np.array([effect.difference for effect in effects])
    p_random = beyond_random(did, np.array(controls_did)) if random else np.full(len(did), np.nan)
    conditions = tuple(
        Condition(
            feature=feature,
            alpha=float(alpha),
            total_reward=mean_interval(outcomes.of(name), generator=generator),
            effect=effect,
            p_corrected=float(p),
            endings=outcomes.endings(name),
            action_agreement=float(same),
            action_distance=float(moved),
            random=band(by_chance) if random else None,
            p_random=float(beyond),
        )
        for (feature, alpha), name, effect, p, same, moved, by_chance, beyond in zip(
            *(settings, pushes, effects, corrected, agreement, distance, controls_did, p_random),
            strict=True,
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
    """Random directions with the norm of each feature, at each strength.

    Every feature has its own: only a table of independent draws tells what a table of features
    does by chance.
    """
    pushes: dict[str, Intervention] = {}
    generator = torch.Generator().manual_seed(seed)
    for feature in features:
        site, length = writes_of(feature.dictionary), feature.direction.norm()
        for index, unit in enumerate(random_directions(count, len(feature.direction), generator)):
            for alpha in alphas:
                name = control_name(feature, alpha, index)
                pushes[name] = steer(site, alpha, unit * length.cpu())
    return pushes


def control_name(feature: Feature, alpha: float, index: int) -> str:
    """How the outcomes call one random direction."""
    return f"random {index} as {feature.address} {alpha:+g}"


def random_effects(
    outcomes: Outcomes, feature: Feature, alpha: float, count: int
) -> Float[np.ndarray, " direction"]:
    """What the random directions beside one feature and strength did to the mean return."""
    baseline = outcomes.of(BASELINE)
    names = [control_name(feature, alpha, index) for index in range(count)]
    return np.array([float((outcomes.of(name) - baseline).mean()) for name in names])


def compare_actions(
    agent: Agent, interventions: Sequence[Intervention], states: States | None
) -> tuple[Float[np.ndarray, " condition"], Float[np.ndarray, " condition"]]:
    """How often the most likely action stays the same, and how far a continuous one moves.

    Each is NaN for the other kind of action; both without states, and where a recurrent agent's own
    state is not known in them.
    """
    same, distance = (np.full(len(interventions), np.nan) for _ in range(2))
    if states is None or states.obstacle(agent):
        return same, distance
    plain = actions_under(agent, Intervention(), states)
    for index, intervention in enumerate(interventions):
        edited = actions_under(agent, intervention, states)
        same[index] = same_action(plain, edited).mean()
        distance[index] = action_distance(plain, edited)
    return same, distance


def actions_under(
    agent: Agent, intervention: Intervention, states: States
) -> Shaped[np.ndarray, "state ..."]:
    """The most likely actions in recorded states under an intervention."""
    program = Program([intervention])
    parts = []
    with torch.no_grad(), Hooks(agent.module, program.requires, program.edits) as hooks:
        for part in states.chunks(ROWS_AT_ONCE):
            program.assign(torch.zeros(len(part), dtype=torch.long, device=agent.device))
            parts.append(hooks.run(agent.act, *part.to(agent.device), None).action)
    return np.concatenate(parts)
