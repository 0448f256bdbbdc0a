"""All scores of one dictionary: what it explains, how sparsely, and what the agent keeps of it."""

import math
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from policyscope.agents.agent import Agent
from policyscope.dictionaries.dictionary import Dictionary
from policyscope.document import strict
from policyscope.envs.environment import Environment
from policyscope.envs.event import Event, events_of
from policyscope.errors import NotEnoughData
from policyscope.interventions.code import by_position
from policyscope.interventions.target import reads_of, writes_of
from policyscope.progress import track
from policyscope.recordings.recording import Recording
from policyscope.rollouts.observation import sample_states
from policyscope.scores.clinearity import Clinearity, clinearity
from policyscope.scores.fidelity import Agreement, ReturnKept, agreement, return_kept
from policyscope.scores.reconstruction import (
    KeepTopFeatures,
    Reconstruction,
    ReconstructionScore,
    TopFeatures,
)
from policyscope.scores.redundancy import CodeCorrelation, Duplicate, duplicates
from policyscope.table import Column, Shown, Table

AGREEMENT_STATES = 8192
EVENT_STEPS = 100_000
GREEDY_WIDTH = 512
"""Above this the top-K curve and the duplicates, which cost features² per step, are left out."""
UNKNOWN_EPISODES = "whether the fit saw them is not known"


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

    def row(self) -> tuple[str, str, str]:
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
        r = self.reconstruction
        rows: list[tuple[str, str, str]] = [
            ("unexplained variance", f"{r.unexplained:.4f}", "0 best, 1 no better than the mean"),
            ("L0", f"{r.l0:.2f}", "features active per step"),
            ("density", f"{r.density.mean():.1%}", "mean share of steps in which a feature fires"),
            ("dead", f"{r.dead:.0%}", "features that never fire"),
        ]
        if self.duplicates is not None:
            said = ", ".join(f"#{p.first} as #{p.second}" for p in self.duplicates[:4])
            more = " …" if len(self.duplicates) > 4 else ""
            what = f"{said}{more}" or "living features that say what another says"
            rows.append(("duplicates", percent(self.duplicate_share), what))
        if not math.isnan(self.stability):
            rows.append(("stability", f"{self.stability:.2f}", "mean |cosine| in other seeds"))
        if self.top_features is not None:
            shown = [n for n in (1, 2, 4, 8, 16) if n < len(self.top_features.unexplained)]
            text = "  ".join(f"{n}: {self.top_features.unexplained[n]:.3f}" for n in shown)
            rows.append(("unexplained by top-K", text, "others kept at their mean"))
        if self.agreement is not None:
            a = self.agreement
            states = f"{a.states:,} recorded states"
            if math.isnan(a.distance):
                rows.append(("action agreement", percent(a.actions), states))
            else:
                rows.append(("action distance", f"{a.distance:.3f}", f"of their std, {states}"))
            if not math.isnan(a.kl):
                rows.append(("KL of the policy", f"{a.kl:.4f}", "nats, mean over those states"))
        if self.return_kept is not None:
            k = self.return_kept
            returns = f"untouched {k.untouched:.1f}, spliced {k.spliced:.1f}"
            note = f"{returns}, ablated {k.ablated:.1f}; {k.episodes} paired episodes"
            note += f"; {k.reason}" if k.reason else ""
            rows.append(("return kept", str(k), note))
        rows.extend(event.row() for event in self.events)
        columns = tuple(Column(name, side="left") for name in ("score", "value", ""))
        note = f"On {self.episodes} episodes: {self.basis}."
        return Table(f"Scores of {self.dictionary}", columns, tuple(rows), note)

    def to_json(self) -> dict[str, Any]:
        """The document of `score --json`."""
        r, k, a = self.reconstruction, self.return_kept, self.agreement
        return {
            "dictionary": self.dictionary,
            "unexplained": r.unexplained,
            "l0": r.l0,
            "dead": r.dead,
            "density": float(r.density.mean()),
            "density_per_feature": r.density.tolist(),
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
            "action_distance": None if a is None else strict(a.distance),
            "kl": None if a is None else strict(a.kl),
            "states": None if a is None else a.states,
            "clinearity": {event.event: event.to_json() for event in self.events},
            "episodes": self.episodes,
            "held_out": self.is_held_out,
            "basis": self.basis,
            "stability": strict(self.stability),
            "duplicates": strict(self.duplicate_share),
            "duplicate_pairs": None
            if self.duplicates is None
            else [vars(pair) for pair in self.duplicates],
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
    return Score(
        dictionary=dictionary.name,
        reconstruction=found.reconstruction.result(),
        top_features=None if found.top is None else found.top.result(),
        agreement=agreement(
            agent,
            dictionary,
            sample_states(recording, AGREEMENT_STATES, seed=seed, episodes=held_out),
        ),
        return_kept=kept,
        events=found.event_scores(),
        episodes=len(found.episodes),
        is_held_out=held_out is not None,
        basis=UNKNOWN_EPISODES if held_out is None else "those given as held out of the fit",
        duplicates=found.duplicates(),
    )


class Gathered:
    """What one pass over a recording collects for the scores."""

    def __init__(self, dictionary: Dictionary, events: Sequence[Event]) -> None:
        self.dictionary = dictionary
        self.events = tuple(events)
        self.needed = sorted({name for event in events for name in event.needs})
        self.reconstruction = Reconstruction()
        is_narrow = len(dictionary) <= GREEDY_WIDTH
        self.top = top_features_of(dictionary) if is_narrow else None
        self.correlation = CodeCorrelation() if is_narrow else None
        self.episodes: set[int] = set()
        self._total = np.zeros(())
        self._count = 0
        self._codes: list[np.ndarray] = []
        self._metrics: list[np.ndarray] = []
        self._episode: list[np.ndarray] = []

    def update(
        self,
        x: Float[np.ndarray, "step ..."],
        y: Float[np.ndarray, "step ..."],
        episode: Int[np.ndarray, " step"],
        metrics: Sequence[Float[np.ndarray, " step"]],
    ) -> None:
        """Takes steps in; `metrics` are those that the events need."""
        codes, target, reconstruction = decomposed(self.dictionary, x, y)
        self.reconstruction.update(target, reconstruction, codes)
        if self.top is not None:
            self.top.update(codes, target)
        if self.correlation is not None:
            self.correlation.update(codes, codes)
        self._total = self._total + y.astype(np.float64).sum(0)
        self._count += len(y)
        self.episodes.update(np.unique(episode).tolist())
        # A map has one code per position, an event one answer per step.
        is_wanted = sum(map(len, self._episode)) < EVENT_STEPS and len(codes) == len(episode)
        if self.events and is_wanted:
            self._codes.append(codes)
            self._episode.append(episode)
            self._metrics.append(np.stack(metrics, axis=1))

    @property
    def target_mean(self) -> Float[Tensor, "..."]:
        """The mean activation that the dictionary writes."""
        return torch.from_numpy((self._total / self._count).astype(np.float32))

    def duplicates(self) -> tuple[Duplicate, ...] | None:
        """Pairs of features that say the same, strongest first; None where there are too many."""
        if self.correlation is None:
            return None
        with torch.no_grad():
            directions = self.dictionary.directions().numpy()
        return duplicates(self.correlation.result(), directions)

    def event_scores(self) -> tuple[EventScore, ...]:
        """Clinearity of every event that occurs often enough to be scored."""
        if not self._codes:
            return ()
        columns = dict(zip(self.needed, np.concatenate(self._metrics).T, strict=True))
        codes, episode = np.concatenate(self._codes), np.concatenate(self._episode)
        scores: list[EventScore] = []
        for event in self.events:
            try:
                found = clinearity(codes, event.happens(columns), episode)
            except NotEnoughData:
                continue
            scores.append(EventScore(event.name, found))
        return tuple(scores)


def gather(recording: Recording, dictionary: Dictionary, held_out: Set[int] | None) -> Gathered:
    """One pass over the `held_out` episodes (all, where None), shard by shard."""
    environment = str(recording.header.environment.get("id", ""))
    metrics = [spec.name for spec in recording.header.columns if spec.kind == "metric"]
    found = Gathered(dictionary, events_of(environment, metrics))
    columns = (str(reads_of(dictionary)), str(writes_of(dictionary)), "episode")
    with track(f"Scoring {dictionary.name}", recording.steps, "steps") as progress:
        for parts in recording.iterate(*columns, *found.needed):
            progress.advance(len(parts[2]))
            if held_out is not None:
                wanted = np.isin(parts[2], list(held_out))
                parts = tuple(part[wanted] for part in parts)
            if len(parts[2]):
                x, y, episode, *needed = parts
                found.update(x, y, episode, needed)
    if not found.episodes:
        raise NotEnoughData(
            f"None of the held-out episodes are in recording {recording.name!r}. "
            "Fit the dictionary again on this recording."
            if held_out
            else f"Recording {recording.name!r} is empty. Record some steps first."
        )
    return found


def top_features_of(dictionary: Dictionary) -> KeepTopFeatures:
    """The fold of the top-K curve for this dictionary."""
    with torch.no_grad():
        bias = dictionary.decode(torch.zeros(len(dictionary))).numpy()
        return KeepTopFeatures(dictionary.directions().numpy(), bias)


def decomposed(
    dictionary: Dictionary, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes, target and reconstruction, one sample per step, or per position of a map."""
    with torch.no_grad():
        read, target = (by_position(torch.from_numpy(np.array(v, np.float32))) for v in (x, y))
        codes = dictionary.encode(read)
        reconstruction = dictionary.decode(codes)
    flat = [part.reshape(-1, part.shape[-1]).numpy() for part in (codes, target, reconstruction)]
    return flat[0], flat[1], flat[2]
