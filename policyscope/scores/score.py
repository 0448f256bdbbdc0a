"""All scores of one dictionary: what it explains, how sparsely, and what the agent keeps of it."""

import math
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any

from policyscope.agents.agent import Agent
from policyscope.dictionaries.dictionary import Dictionary
from policyscope.document import strict
from policyscope.envs.environment import Environment
from policyscope.errors import NotEnoughData
from policyscope.recordings.recording import Recording
from policyscope.rollouts.states import sample_states
from policyscope.scores.causes import CausalShare, causal_share
from policyscope.scores.clinearity import Clinearity
from policyscope.scores.density import Density
from policyscope.scores.description import Description, description
from policyscope.scores.fidelity import Agreement, ReturnKept, agreement, return_kept
from policyscope.scores.gathered import gather
from policyscope.scores.monosemanticity import Monosemanticity
from policyscope.scores.reconstruction import ReconstructionScore, TopFeatures
from policyscope.scores.redundancy import Duplicate
from policyscope.statistics.estimate import Estimate
from policyscope.table import Column, Shown, Table

AGREEMENT_STATES = 8192
UNKNOWN_EPISODES = "whether the fit saw them is not known"

Row = tuple[str, str, str]
"""A score, its value and what it means, as text."""


@dataclass(frozen=True, eq=False)
class EventScore:
    """How well a threshold on the best feature tells one event."""

    event: str
    clinearity: Clinearity

    def to_json(self) -> dict[str, Any]:
        """The entry of `score --json`; `accuracy` is balanced, on held-out episodes."""
        found, best = self.clinearity, self.clinearity.best
        return {
            "feature": best,
            "threshold": float(found.threshold[best]),
            "above": bool(found.above[best]),
            "accuracy": strict(found.balanced_accuracy[best]),
            "low": strict(found.low[best]),
            "high": strict(found.high[best]),
            "auroc": strict(found.auroc[best]),
            "episodes": found.held_out_episodes,
        }

    def row(self) -> Row:
        """The entry of the table of scores."""
        found, best = self.clinearity, self.clinearity.best
        accuracy, low, high = (v[best] for v in (found.balanced_accuracy, found.low, found.high))
        side = ">" if found.above[best] else "≤"
        return (
            f"clinearity: {self.event.replace('_', ' ')}",
            f"{accuracy:.2f} [{low:.2f}, {high:.2f}]",
            f"#{best} {side} {found.threshold[best]:.3g}",
        )


@dataclass(frozen=True, eq=False)
class Score(Shown):
    """The scores of one dictionary, and what the episodes are that they were measured on."""

    dictionary: str
    reconstruction: ReconstructionScore
    top_features: TopFeatures | None
    agreement: Agreement | None
    return_kept: ReturnKept | None
    events: tuple[EventScore, ...]
    episodes: int
    is_held_out: bool
    """Whether neither the fit nor the choice among its seeds saw the episodes."""
    basis: str = UNKNOWN_EPISODES
    """What the episodes are, in words that end a sentence about them."""
    duplicates: tuple[Duplicate, ...] | None = None
    """Pairs of features that say the same; None where the dictionary is too wide to look."""
    stability: float = math.nan
    """How well other seeds of the fit find its directions, mean |cosine|; NaN if not known."""
    unexplained: Estimate | None = None
    """The unexplained variance with its interval over episodes."""
    monosemanticity: Monosemanticity | None = None
    description: Description | None = None
    causes: CausalShare | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    """Why there is no monosemanticity, description or causal share, where there is none."""

    @property
    def density(self) -> Density:
        """How often its features fire."""
        return Density(self.reconstruction.density)

    @property
    def duplicate_share(self) -> float:
        """The share of living features whose code another one nearly repeats; NaN if not known."""
        alive = int((~self.reconstruction.is_dead).sum())
        if self.duplicates is None or not alive:
            return math.nan
        return len({f for pair in self.duplicates for f in (pair.first, pair.second)}) / alive

    def __str__(self) -> str:
        r = self.reconstruction
        parts = [
            f"unexplained {r.unexplained:.3f}",
            f"L0 {r.l0:.2f}",
            f"dead {r.dead:.0%}",
        ]
        if self.agreement is not None and not math.isnan(self.agreement.actions):
            parts.append(f"same action {self.agreement.actions:.0%}")
        if self.return_kept is not None:
            parts.append(f"return kept {self.return_kept}")
        return " · ".join(parts)

    __repr__ = __str__

    def table(self) -> Table:
        """One row per score."""
        rows = [*self.rows_of_codes(), *self.rows_of_behaviour(), *self.rows_of_meaning()]
        columns = tuple(Column(name, side="left") for name in ("score", "value", ""))
        note = f"On {self.episodes} episodes: {self.basis}. In brackets 95 % intervals over them."
        return Table(f"Scores of {self.dictionary}", columns, tuple(rows), note)

    def rows_of_codes(self) -> list[Row]:
        """What the reconstruction explains, and how the codes are spread."""
        r, density = self.reconstruction, self.density
        known = self.unexplained
        said = f"{r.unexplained:.4f}" if known is None else known.write(".4f")
        rows = [
            ("unexplained variance", said, "0 best, 1 no better than the mean"),
            ("L0", f"{r.l0:.2f}", "features active per step"),
            ("density", f"{r.density.mean():.1%}", "mean share of steps in which a feature fires"),
            ("dead", f"{r.dead:.0%}", "features that never fire"),
            ("dense", f"{density.dense:.0%}", "features that fire in more than half the steps"),
        ]
        if self.duplicates is not None:
            named = ", ".join(f"#{p.first} as #{p.second}" for p in self.duplicates[:4])
            more = " …" if len(self.duplicates) > 4 else ""
            what = f"{named}{more}" or "living features that say what another says"
            rows.append(("duplicates", percent(self.duplicate_share), what))
        if not math.isnan(self.stability):
            rows.append(("stability", f"{self.stability:.2f}", "mean |cosine| in other seeds"))
        if self.top_features is not None:
            shown = [n for n in (1, 2, 4, 8, 16) if n < len(self.top_features.unexplained)]
            text = "  ".join(f"{n}: {self.top_features.unexplained[n]:.3f}" for n in shown)
            rows.append(("unexplained by top-K", text, "others kept at their mean"))
        return rows

    def rows_of_behaviour(self) -> list[Row]:
        """What the agent keeps doing when it thinks in the dictionary's words only."""
        rows: list[Row] = []
        if self.agreement is not None:
            a = self.agreement
            states = f"{a.states:,} states of {a.episodes} episodes"
            if math.isnan(a.distance):
                said = percent(a.actions) if a.same is None else a.same.write(".1%")
                rows.append(("action agreement", said, states))
            else:
                rows.append(("action distance", f"{a.distance:.3f}", f"of their std, {states}"))
            if not math.isnan(a.kl):
                rows.append(("KL of the policy", f"{a.kl:.4f}", "nats, mean over those states"))
            for part, what in (("action", "what the choice rests on"), ("value", "the value")):
                if part in a.unexplained:
                    said = a.unexplained[part].write(".4f")
                    rows.append((f"{part} unexplained", said, f"of the variance of {what}"))
        if self.return_kept is not None:
            k = self.return_kept
            returns = f"untouched {k.untouched:.1f}, spliced {k.spliced:.1f}"
            note = f"{returns}, ablated {k.ablated:.1f}; {k.episodes} paired episodes"
            note += f"; {k.reason}" if k.reason else ""
            rows.append(("return kept", str(k), note))
        return rows

    def rows_of_meaning(self) -> list[Row]:
        """What the features stand for, and whether it matters."""
        rows = [event.row() for event in self.events]
        m, d, c = self.monosemanticity, self.description, self.causes
        if m is not None:
            said = f"{m.median_of_features:.3f}, units {m.median_of_units:.3f}"
            more = f"difference {m.difference.write('+.3f')}; one metric's AUROC, median"
            rows.append(("monosemanticity", said, more))
        if d is not None and len(d.auroc):
            what = f"median AUROC of rules; {d.clear:.0%} of {len(d.auroc)} reach 0.9"
            rows.append(("description", f"{d.median:.2f}", what))
        if c is not None:
            what = f"{len(c.confirmed)} of {len(c.tested)} features change the return, confirmed"
            rows.append(("causal share", percent(c.share), c.reason or what))
        for name, reason in self.missing.items():
            rows.append((name, "–", reason))
        return rows

    def to_json(self) -> dict[str, Any]:
        """The document of `score --json`."""
        r, k, a = self.reconstruction, self.return_kept, self.agreement
        m, d, c = self.monosemanticity, self.description, self.causes
        parts = {} if a is None else a.unexplained
        return {
            "dictionary": self.dictionary,
            "unexplained": r.unexplained,
            **bounds("unexplained", self.unexplained),
            "l0": r.l0,
            "dead": r.dead,
            "dense": self.density.dense,
            "density": float(r.density.mean()),
            "density_per_feature": r.density.tolist(),
            "density_histogram": self.density.to_json(),
            "unexplained_by_top_features": None
            if self.top_features is None
            else self.top_features.unexplained.tolist(),
            "return_kept": None
            if k is None
            else {
                "value": strict(k.value),
                "low": strict(k.low),
                "high": strict(k.high),
                "untouched": k.untouched,
                "spliced": k.spliced,
                "ablated": k.ablated,
                "episodes": k.episodes,
                "undefined": k.undefined,
                "reason": k.reason,
            },
            "action_agreement": None if a is None else strict(a.actions),
            **bounds("action_agreement", None if a is None else a.same),
            "action_distance": None if a is None else strict(a.distance),
            "kl": None if a is None else strict(a.kl),
            **{
                key: value
                for part in ("value", "action")
                for key, value in estimated(f"{part}_unexplained", parts.get(part)).items()
            },
            "states": None if a is None else a.states,
            "state_episodes": None if a is None else a.episodes,
            "clinearity": {event.event: event.to_json() for event in self.events},
            "monosemanticity": None if m is None else m.to_json(),
            "description": None if d is None else d.to_json(),
            "causal_share": None if c is None else c.to_json(),
            "missing": dict(self.missing),
            "episodes": self.episodes,
            "held_out": self.is_held_out,
            "basis": self.basis,
            "stability": strict(self.stability),
            "duplicates": strict(self.duplicate_share),
            "duplicate_pairs": None
            if self.duplicates is None
            else [vars(pair) for pair in self.duplicates],
        }

    def joined(
        self, features: Mapping[str, Any] | None, sweep: Mapping[str, Any] | None
    ) -> "Score":
        """The score with what the documents of `features` and `sweep` add, or why they do not."""
        found = None if features is None else description(features)
        missing = dict(self.missing)
        if features is None:
            missing["description"] = "nobody has looked at the features yet: policyscope features"
        elif found is None:
            missing["description"] = "no metric, or too few episodes, to make rules of"
        if sweep is None:
            missing["causal share"] = "the features were not steered yet: policyscope sweep"
        causes = None if sweep is None else causal_share(sweep)
        return replace(self, description=found, causes=causes, missing=missing)


def estimated(name: str, estimate: Estimate | None) -> dict[str, Any]:
    """An estimate as entries of a document, null where there is none."""
    value = None if estimate is None else strict(estimate.value)
    return {name: value, **bounds(name, estimate)}


def bounds(name: str, estimate: Estimate | None) -> dict[str, Any]:
    """The interval of the entry `name`, null where there is none."""
    return {
        f"{name}_low": None if estimate is None else strict(estimate.low),
        f"{name}_high": None if estimate is None else strict(estimate.high),
    }


def percent(value: float) -> str:
    """A share as text."""
    return "–" if math.isnan(value) else f"{value:.1%}"


def score(
    agent: Agent,
    make_environment: Callable[[int], Environment],
    recording: Recording,
    dictionary: Dictionary,
    *,
    seeds: Sequence[int],
    held_out: Set[int] | None = None,
    deterministic: bool = False,
    seed: int = 0,
) -> Score:
    """Scores a dictionary on `held_out` episodes (all, where none are given).

    Only who fitted it knows what those are: `Study.score` says it in the score's `basis`.
    `seeds` are played for the return kept; with none of them, that score is left out.
    """
    found = gather(recording, dictionary, held_out)
    kept = None
    if seeds:
        kept = return_kept(
            agent,
            make_environment,
            dictionary,
            found.target_mean,
            seeds=seeds,
            deterministic=deterministic,
            seed=seed,
        )
    missing: dict[str, str] = {}
    try:
        meaning = found.monosemanticity()
    except NotEnoughData as error:
        meaning, missing["monosemanticity"] = None, str(error)
    return Score(
        dictionary=dictionary.name,
        reconstruction=found.reconstruction.result(),
        top_features=found.top_features(),
        agreement=agreement(
            agent,
            dictionary,
            sample_states(recording, AGREEMENT_STATES, agent=agent, seed=seed, episodes=held_out),
        ),
        return_kept=kept,
        events=tuple(EventScore(*pair) for pair in found.clinearities().items()),
        episodes=len(found.episodes),
        is_held_out=held_out is not None,
        basis=UNKNOWN_EPISODES if held_out is None else "those given as held out of the fit",
        duplicates=found.duplicates(),
        unexplained=found.unexplained.result(),
        monosemanticity=meaning,
        missing=missing,
    )
