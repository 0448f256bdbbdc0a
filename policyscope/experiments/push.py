"""Finding a nudge: one feature, one sign, one strength that makes the agent do better.

The search scans every feature at every strength on search seeds; what it likes best must hold on
fresh seeds beside random pushes of the same size. See nudge.py for the statistics.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

from policyscope.address import Site
from policyscope.agents.agent import Agent
from policyscope.dictionaries.feature import Feature
from policyscope.envs.environment import Environment
from policyscope.errors import InvalidInput
from policyscope.experiments.directions import random_directions
from policyscope.experiments.nudge import Nudge, search_and_confirm
from policyscope.interventions.intervention import Intervention
from policyscope.interventions.steer import steer
from policyscope.interventions.target import writes_of
from policyscope.rollouts.evaluate import evaluate_conditions
from policyscope.rollouts.outcomes import Outcomes, check_distinct

ALPHAS = (-2.0, -1.0, -0.5, 0.5, 1.0, 2.0)


@dataclass(frozen=True, eq=False)
class Push:
    """A feature steered by α, as a candidate of the search."""

    feature: Feature
    alpha: float

    def __str__(self) -> str:
        return f"{self.feature.address} α={self.alpha:+g}"

    @property
    def intervention(self) -> Intervention:
        """The edit itself."""
        return steer(self.feature, self.alpha)


def find_nudge(
    agent: Agent,
    make_environment: Callable[[int], Environment],
    features: Sequence[Feature],
    alphas: Sequence[float] = ALPHAS,
    *,
    search_seeds: Sequence[int],
    confirm_seeds: Sequence[int],
    keep: int = 5,
    random: int = 39,
    deterministic: bool = False,
    seed: int = 0,
) -> Nudge:
    """The pushes that raise the return on seeds they were not chosen by, or an honest no.

    `random` directions of each kept feature's norm and strength play beside it on fresh seeds.
    """
    if not features or not alphas:
        raise InvalidInput("A nudge search needs at least one feature and one strength.")
    if random < 0 or random == 1:
        raise InvalidInput(f"A band needs at least 2 random directions (or none); got {random}.")
    candidates = [Push(feature, float(alpha)) for feature in features for alpha in alphas]
    check_distinct("candidate", map(str, candidates))

    def evaluate(conditions: Sequence[Any], seeds: Sequence[int]) -> Outcomes:
        edits: dict[str, Intervention] = {}
        for number, condition in enumerate(conditions):
            if condition is None:
                edits["baseline"] = Intervention()
            elif isinstance(condition, Push):
                edits[str(condition)] = condition.intervention
            else:
                edits[f"random {number}"] = condition
        return evaluate_conditions(
            agent,
            make_environment,
            edits,
            seeds,
            deterministic=deterministic,
            seed=seed,
            label="Searching" if seeds is search_seeds else "Confirming",
        ).outcomes

    @cache
    def controls_of(site: Site, length: float, alpha: float, units: int) -> list[Intervention]:
        generator = torch.Generator().manual_seed(seed)
        drawn = random_directions(random, units, generator)
        return [steer(site, alpha, direction * length) for direction in drawn]

    def controls(push: Push) -> list[Intervention]:
        direction = push.feature.direction
        site = writes_of(push.feature.dictionary)
        return controls_of(site, float(direction.norm()), push.alpha, len(direction))

    return search_and_confirm(
        evaluate,
        candidates,
        search_seeds=search_seeds,
        confirm_seeds=confirm_seeds,
        generator=np.random.default_rng(seed),
        keep=keep,
        controls=controls if random else None,
    )


def nudge_to_json(nudge: Nudge) -> dict[str, Any]:
    """The document of `nudge --json`."""

    def push(candidate: Push) -> dict[str, Any]:
        address = str(candidate.feature.address)
        return {"feature": candidate.feature.index, "address": address, "alpha": candidate.alpha}

    trials = [
        {
            **push(trial.candidate),
            "rank": trial.rank,
            "difference": trial.fresh.difference,
            "low": trial.fresh.low,
            "high": trial.fresh.high,
            "p": trial.fresh.p,
            "p_corrected": trial.p_corrected,
            "seeds": len(nudge.confirm_seeds),
            "search_difference": trial.search.difference,
            "random_as_good": None
            if trial.random is None
            else trial.random.as_good(trial.fresh.difference),
            "random_directions": None if trial.random is None else len(trial.random.effects),
            "holds": trial.holds,
        }
        for trial in nudge.trials
    ]
    return {
        "found": nudge.found,
        "verdict": nudge.verdict(),
        "search_seeds": len(nudge.search_seeds),
        "confirm_seeds": len(nudge.confirm_seeds),
        "search_baseline": nudge.search_baseline,
        "confirm_baseline": nudge.confirm_baseline,
        "luck": nudge.luck,
        "level": nudge.level,
        "candidates": [
            {
                **push(candidate.candidate),
                "rank": candidate.rank,
                "difference": candidate.search.difference,
                "low": candidate.search.low,
                "high": candidate.search.high,
            }
            for candidate in nudge.candidates
        ],
        "trials": trials,
        "confirmed": [trial for trial in trials if trial["holds"]],
    }
