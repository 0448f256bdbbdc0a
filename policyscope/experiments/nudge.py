"""Search for an edit that raises the return, then confirm the best few on fresh seeds.

1. Every candidate plays the search seeds beside the unedited agent, paired.
2. Of those that look better than the unedited agent at all, the `keep` with the best lower bound of
   the paired difference stay.
3. They play fresh seeds; the two-sided paired t of each is corrected for the kept ones (Holm).
   A nudge holds where the difference is positive and the corrected p is at most `level`: since the
   fresh seeds know nothing of the selection, the chance of even one false find is at most `level`,
   however many candidates were searched.
4. Random directions of equal norm play the same fresh seeds, to tell a feature from any push of
   that size.

How often the best of the search appears by luck is asked of the largest t (Westfall and Young 1993,
"Resampling-Based Multiple Testing"): centred differences with random signs, drawn once per episode
and shared by all candidates, so that what they have in common is kept. Largest means would claim
too much: a baseline with an unlucky mean also has a small spread, so with 64 null candidates and
skewed returns they call 12 to 17 % of searches lucky at 5 % (40 and 10 seeds); largest t, 4 %.
"""

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from policyscope.errors import InvalidInput, NotEnoughData
from policyscope.experiments.effect import (
    Band,
    Effect,
    band,
    check_level,
    correct,
    paired_difference,
)
from policyscope.rollouts.outcomes import Outcomes, check_distinct
from policyscope.table import Column, Table

REPLICATES = 2000

Evaluate = Callable[[Sequence[Any], Sequence[int]], Outcomes]


@dataclass(frozen=True, eq=False)
class Candidate:
    """One setting and what it did on the search seeds; rank 1 has the best lower bound."""

    candidate: Any
    name: str
    rank: int
    search: Effect


@dataclass(frozen=True, eq=False)
class Trial:
    """A kept candidate and what it did on the fresh seeds.

    The interval is that of this setting alone; `p_corrected` accounts for all that were kept.
    `random` is the band of random directions of equal norm on the same seeds, None if not asked.
    """

    candidate: Any
    name: str
    rank: int
    search: Effect
    fresh: Effect
    p_corrected: float
    holds: bool
    random: Band | None


@dataclass(frozen=True, eq=False)
class Nudge:
    """The answer of a search: all candidates in their rank order, and the trials of the kept ones.

    `luck` is the share of searches whose best looks at least as sure (by its t) as this one's
    although no candidate does anything. `level` is the accepted chance of a false find.
    """

    candidates: tuple[Candidate, ...]
    trials: tuple[Trial, ...]
    search_seeds: tuple[int, ...]
    confirm_seeds: tuple[int, ...]
    search_baseline: float
    confirm_baseline: float | None
    luck: float
    level: float

    @property
    def confirmed(self) -> tuple[Trial, ...]:
        """The trials that hold on fresh seeds, largest lower bound first."""
        holding = [trial for trial in self.trials if trial.holds]
        return tuple(sorted(holding, key=lambda trial: -trial.fresh.low))

    @property
    def found(self) -> bool:
        """Whether any candidate holds on fresh seeds."""
        return bool(self.confirmed)

    def verdict(self) -> str:
        """What was found, in sentences that do not promise more than the numbers."""
        if self.found:
            return " ".join([say_finds(self), say_search(self), say_random(self)]).strip()
        return " ".join(["No nudge holds.", say_search(self), say_trials(self)]).strip()

    def table(self) -> Table:
        """The kept candidates: what they did in the search and on fresh seeds."""
        columns = (
            Column("setting", side="left"),
            Column("rank", "d"),
            Column("search", side="left"),
            Column("fresh", side="left"),
            Column("p (Holm)", ".2g"),
            Column("random as good", side="left"),
            Column("holds", side="left"),
        )
        rows = tuple(
            (
                trial.name,
                trial.rank,
                str(trial.search),
                str(trial.fresh),
                trial.p_corrected,
                None if trial.random is None else count_as_good(trial.random, trial.fresh),
                "yes" if trial.holds else "no",
            )
            for trial in self.trials
        )
        note = f"Change of the mean return with {100 * (1 - self.level):g} % intervals."
        return Table("Nudges tried on fresh seeds", columns, rows, note)

    def __str__(self) -> str:
        return f"{self.verdict()}\n\n{self.table()}" if self.trials else self.verdict()

    def _repr_html_(self) -> str:
        table = self.table()._repr_html_() if self.trials else ""
        return f"<p>{html.escape(self.verdict())}</p>{table}"


def search_and_confirm(
    evaluate: Evaluate,
    candidates: Sequence[Any],
    *,
    search_seeds: Sequence[int],
    confirm_seeds: Sequence[int],
    generator: np.random.Generator,
    keep: int = 5,
    level: float = 0.05,
    controls: Callable[[Any], Sequence[Any]] | None = None,
) -> Nudge:
    """The candidates that raise the return on seeds they were not chosen by, or an honest no.

    `evaluate(conditions, seeds)` plays each condition with each seed and returns Outcomes in that
    order; condition None, always the first, is the unedited agent. `controls(candidate)` gives
    random directions of the same norm (at least 2; 19 before any claim can beat them at 5 %);
    the same object given for two candidates is played once. `generator` draws the signs of `luck`.
    """
    check_plan(candidates, search_seeds, confirm_seeds, keep, level)
    searched = played(evaluate, [None, *candidates], search_seeds)
    ranked = rank_candidates(candidates, searched, level)
    differences = searched.total_reward[1:] - searched.total_reward[0]
    luck = luck_of_best(differences, searched.row(ranked[0].name) - 1, generator)
    kept = [candidate for candidate in ranked if candidate.search.difference > 0][:keep]
    trials: tuple[Trial, ...] = ()
    confirm_baseline = None
    if kept:
        trials, confirm_baseline = confirm(evaluate, kept, confirm_seeds, level, controls)
    return Nudge(
        candidates=ranked,
        trials=trials,
        search_seeds=tuple(map(int, search_seeds)),
        confirm_seeds=tuple(map(int, confirm_seeds)),
        search_baseline=float(searched.total_reward[0].mean()),
        confirm_baseline=confirm_baseline,
        luck=luck,
        level=level,
    )


def rank_candidates(
    candidates: Sequence[Any], outcomes: Outcomes, level: float
) -> tuple[Candidate, ...]:
    """The candidates by falling lower bound of their paired difference to row 0."""
    effects = effects_of(outcomes, level)
    order = sorted(range(len(effects)), key=lambda index: -effects[index].low)
    return tuple(
        Candidate(candidates[index], outcomes.conditions[1 + index], rank, effects[index])
        for rank, index in enumerate(order, start=1)
    )


def luck_of_best(
    differences: Float[np.ndarray, "condition episode"],
    best: int,
    generator: np.random.Generator,
    replicates: int = REPLICATES,
) -> float:
    """The share of searches with no true effect whose largest t reaches that of row `best`."""
    episodes = differences.shape[1]
    means = differences.mean(axis=1)
    centred = differences - means[:, None]
    squares = np.square(centred).mean(axis=1)
    signs = generator.choice([-1.0, 1.0], size=(replicates, episodes))
    flipped = signs @ centred.T / episodes
    luckiest = student_t(flipped, squares - flipped**2, episodes).max(axis=1)
    reached = np.count_nonzero(luckiest >= student_t(means, squares, episodes)[best])
    return float((1 + reached) / (1 + replicates))


def student_t(
    mean: Float[np.ndarray, "*replicate condition"],
    variance: Float[np.ndarray, "*replicate condition"],
    episodes: int,
) -> Float[np.ndarray, "*replicate condition"]:
    """t of means with their variances (divided by n); without any spread 0 or infinite."""
    error = np.sqrt(np.maximum(variance, 0.0) / (episodes - 1))
    without_spread = np.where(mean == 0, 0.0, np.copysign(np.inf, mean))
    return np.divide(mean, error, out=without_spread, where=error > 0)


def confirm(
    evaluate: Evaluate,
    kept: Sequence[Candidate],
    seeds: Sequence[int],
    level: float,
    controls: Callable[[Any], Sequence[Any]] | None,
) -> tuple[tuple[Trial, ...], float]:
    """The trials of the kept candidates and their controls in one run, and the baseline's mean."""
    pushes = [list(controls(one.candidate)) if controls else [] for one in kept]
    check_controls(kept, pushes, asked=controls is not None)
    distinct = {id(push): push for group in pushes for push in group}
    conditions = [None, *(one.candidate for one in kept), *distinct.values()]
    outcomes = played(evaluate, conditions, seeds)
    effects = effects_of(outcomes, level)
    fresh, random = effects[: len(kept)], effects[len(kept) :]
    effect_of = dict(zip(distinct, (effect.difference for effect in random), strict=True))
    corrected = correct(np.array([effect.p for effect in fresh]), "holm")
    trials = tuple(
        Trial(
            candidate=one.candidate,
            name=one.name,
            rank=one.rank,
            search=one.search,
            fresh=effect,
            p_corrected=float(p),
            holds=bool(effect.difference > 0 and p <= level),
            random=band(np.array([effect_of[id(push)] for push in group]), level=1 - level)
            if group
            else None,
        )
        for one, effect, p, group in zip(kept, fresh, corrected, pushes, strict=True)
    )
    return trials, float(outcomes.total_reward[0].mean())


def effects_of(outcomes: Outcomes, level: float) -> list[Effect]:
    """The paired difference of every later row to row 0, the unedited agent."""
    baseline, *edited = outcomes.total_reward
    return [paired_difference(returns, baseline, level=1 - level) for returns in edited]


def played(evaluate: Evaluate, conditions: Sequence[Any], seeds: Sequence[int]) -> Outcomes:
    """What `evaluate` returns, refused unless it is these conditions with these seeds."""
    outcomes = evaluate(conditions, seeds)
    if len(outcomes.conditions) != len(conditions) or outcomes.seeds != tuple(seeds):
        raise InvalidInput(
            f"evaluate was asked for {len(conditions)} conditions over {len(seeds)} seeds and "
            f"returned {outcomes!r}, or other seeds. Return one row per condition, the unedited "
            "agent first, with the seeds in the order given; otherwise nothing is paired."
        )
    return outcomes


def check_plan(
    candidates: Sequence[Any],
    search_seeds: Sequence[int],
    confirm_seeds: Sequence[int],
    keep: int,
    level: float,
) -> None:
    """Raises before the first episode where the search could not mean anything."""
    check_level(level)
    if not candidates:
        raise InvalidInput("There is no candidate to search. Give at least one setting.")
    if any(candidate is None for candidate in candidates):
        raise InvalidInput("None is the unedited agent and cannot be a candidate. Leave it out.")
    if keep < 1:
        raise InvalidInput(f"At least one candidate must be kept to confirm, but keep={keep}.")
    for name, seeds in (("search", search_seeds), ("confirm", confirm_seeds)):
        check_distinct(f"{name} seed", seeds)
        if len(seeds) < 2:
            raise NotEnoughData(
                f"A paired difference needs at least 2 {name} seeds, but got {len(seeds)}."
            )
    shared = sorted(set(search_seeds) & set(confirm_seeds))
    if shared:
        raise InvalidInput(
            f"{len(shared)} seeds are in both the search and the confirmation "
            f"(first: {shared[0]}). Confirm on seeds that the search never sees."
        )


def check_controls(kept: Sequence[Candidate], pushes: Sequence[Sequence[Any]], asked: bool) -> None:
    """Raises NotEnoughData where controls were asked for and fewer than two came."""
    for one, group in zip(kept, pushes, strict=True):
        if asked and len(group) < 2:
            raise NotEnoughData(
                f"controls gave {len(group)} random directions for {one.name!r}; a band needs at "
                "least 2, and 19 before a claim can beat them at 5 %."
            )


def say_search(nudge: Nudge) -> str:
    """How many settings were tried, what the best looked like, and how often luck does that."""
    best, tried = nudge.candidates[0], len(nudge.candidates)
    settings = "1 setting was" if tried == 1 else f"{tried} settings were"
    text = f"{settings} tried on {len(nudge.search_seeds)} search seeds; the best there by its "
    text += f"lower bound, {best.name}, changed the mean return by {best.search} "
    text += f"from {nudge.search_baseline:.1f}. By luck alone, "
    text += "it" if tried == 1 else f"the best of {tried} that do nothing"
    return f"{text} would look at least as sure in {say_share(nudge.luck)} of searches."


def say_finds(nudge: Nudge) -> str:
    """What holds on fresh seeds, the best first."""
    best, others = nudge.confirmed[0], nudge.confirmed[1:]
    text = f"A nudge holds: {best.name} changes the mean return by {best.fresh} "
    text += f"from {nudge.confirm_baseline:.1f} on {len(nudge.confirm_seeds)} fresh seeds "
    text += f"({say_p(best)} after Holm over {len(nudge.trials)}); "
    text += f"it was number {best.rank} of the search."
    if others:
        text += " Also holding: " + ", ".join(f"{one.name} {one.fresh}" for one in others) + "."
    return text


def say_trials(nudge: Nudge) -> str:
    """What the kept candidates did on fresh seeds when none of them holds."""
    if not nudge.trials:
        return "None looked better than the unedited agent, so no fresh seeds were spent."
    first = nudge.trials[0]
    best = max(nudge.trials, key=lambda trial: trial.fresh.difference)
    # A steady setting that looks no better can lead the lower bounds and still not be kept.
    name = first.name if first.rank == 1 else f"{first.name} (number {first.rank} of the search)"
    text = f"On {len(nudge.confirm_seeds)} fresh seeds {name} changed it by {first.fresh} "
    text += f"({say_p(first)} after Holm over {len(nudge.trials)})"
    if best is not first:
        text += f"; the best of the kept was {best.name} with {best.fresh} ({say_p(best)})"
    return text + "."


def say_random(nudge: Nudge) -> str:
    """How the best find compares with random directions of equal norm."""
    best = nudge.confirmed[0]
    if best.random is None:
        return "Random directions of equal norm were not played beside it."
    text = f"{count_as_good(best.random, best.fresh)} random directions of equal norm do as well "
    text += "on the same fresh seeds"
    directions = len(best.random.effects)
    if best.random.chance(best.fresh.difference) <= nudge.level:
        return f"{text}: it is more than a push of that size."
    if 1 / (1 + directions) > nudge.level:
        return f"{text}; too few directions to say that it is more than a push of that size."
    return f"{text}: it helps, but so does a random push of that size."


def say_p(trial: Trial) -> str:
    """The corrected p in words that do not print 0."""
    return "p < 0.0001" if trial.p_corrected < 1e-4 else f"p {trial.p_corrected:.2g}"


def say_share(share: float) -> str:
    """A share of resamples as a percentage that never claims 0."""
    if share < 0.001:
        return "fewer than 0.1 %"
    return f"{100 * share:.1f} %" if share < 0.1 else f"{100 * share:.0f} %"


def count_as_good(random: Band, effect: Effect) -> str:
    """How many random directions do at least as well as `effect`, as "3 of 32"."""
    return f"{random.as_good(effect.difference)} of {len(random.effects)}"
