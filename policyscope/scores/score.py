"""All scores of one dictionary: what it explains, how sparsely, and whether the agent survives it."""

import math
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from policyscope.agents.agent import Agent
from policyscope.dictionaries.dictionary import Dictionary
from policyscope.envs.environment import Environment
from policyscope.envs.event import events_of
from policyscope.errors import NotEnoughData
from policyscope.interventions.code import by_position
from policyscope.interventions.target import reads_of, writes_of
from policyscope.progress import track
from policyscope.recordings.recording import Recording
from policyscope.scores.clinearity import Clinearity, clinearity
from policyscope.scores.fidelity import Agreement, ReturnKept, agreement, return_kept
from policyscope.scores.reconstruction import (
    KeepTopFeatures,
    Reconstruction,
    ReconstructionScore,
    TopFeatures,
)
from policyscope.table import Column, Table

AGREEMENT_STATES = 8192
EVENT_STEPS = 100_000
GREEDY_WIDTH = 512
"""Above this the exact top-K curve, which costs features² per step, is left out."""


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
            "accuracy": finite(found.balanced_accuracy[best]),
            "low": finite(found.low[best]),
            "high": finite(found.high[best]),
            "auroc": finite(found.auroc[best]),
            "episodes": found.held_out_episodes,
        }


@dataclass(frozen=True, eq=False)
class Score:
    """The scores of one dictionary on episodes it was not fitted on, where there are such."""

    dictionary: str
    reconstruction: ReconstructionScore
    top_features: TopFeatures | None
    agreement: Agreement | None
    return_kept: ReturnKept | None
    events: tuple[EventScore, ...]
    episodes: int
    is_held_out: bool
    stability: float = math.nan

    def __str__(self) -> str:
        r = self.reconstruction
        parts = [
            f"unexplained {r.unexplained:.3f}",
            f"L0 {r.l0:.2f}",
            f"dead {r.dead:.0%}",
        ]
        if self.agreement is not None:
            parts.append(f"same action {self.agreement.actions:.0%}")
        if self.return_kept is not None:
            parts.append(f"return kept {self.return_kept}")
        return " · ".join(parts)

    __repr__ = __str__

    def table(self) -> Table:
        """One row per score."""
        r, where = self.reconstruction, "held-out" if self.is_held_out else "the same"
        rows: list[tuple[str, str, str]] = [
            ("unexplained variance", f"{r.unexplained:.4f}", "0 best, 1 no better than the mean"),
            ("L0", f"{r.l0:.2f}", "features active per step"),
            ("density", f"{r.density.mean():.1%}", "mean share of steps in which a feature fires"),
            ("dead", f"{r.dead:.0%}", "features that never fire"),
        ]
        if self.top_features is not None:
            shown = [n for n in (1, 2, 4, 8, 16) if n < len(self.top_features.unexplained)]
            text = "  ".join(f"{n}: {self.top_features.unexplained[n]:.3f}" for n in shown)
            rows.append(("unexplained by top-K", text, "others kept at their mean"))
        if self.agreement is not None:
            a = self.agreement
            rows.append(("action agreement", f"{a.actions:.1%}", f"{a.states:,} recorded states"))
            rows.append(("KL of the policy", f"{a.kl:.4f}", "nats, mean over those states"))
        if self.return_kept is not None:
            k = self.return_kept
            rows.append(
                (
                    "return kept",
                    str(k),
                    f"untouched {k.untouched:.1f}, spliced {k.spliced:.1f}, "
                    f"ablated {k.ablated:.1f}; {k.episodes} paired episodes",
                )
            )
        for event in self.events:
            found = event.to_json()
            text = f"{found['accuracy']:.2f} [{found['low']:.2f}, {found['high']:.2f}]"
            side = ">" if found["above"] else "≤"
            rows.append(
                (
                    f"clinearity: {event.event.replace('_', ' ')}",
                    text,
                    f"#{found['feature']} {side} {found['threshold']:.3g}",
                )
            )
        columns = (Column("score", side="left"), Column("value", side="left"), Column("", side="left"))
        note = f"On {where} {self.episodes} episodes as the fit."
        if self.is_held_out:
            note = f"On {self.episodes} episodes held out of the fit."
        return Table(f"Scores of {self.dictionary}", columns, tuple(rows), note)

    def __rich__(self) -> Any:
        return self.table().__rich__()

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

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
                "value": finite(k.value),
                "low": finite(k.low),
                "high": finite(k.high),
                "untouched": k.untouched,
                "spliced": k.spliced,
                "ablated": k.ablated,
                "episodes": k.episodes,
            },
            "action_agreement": None if a is None else a.actions,
            "kl": None if a is None else finite(a.kl),
            "states": None if a is None else a.states,
            "clinearity": {event.event: event.to_json() for event in self.events},
            "episodes": self.episodes,
            "held_out": self.is_held_out,
            "stability": finite(self.stability),
        }


def finite(value: float) -> float | None:
    """A number as JSON has it: null where it is not known."""
    return float(value) if math.isfinite(value) else None


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

    `seeds` are played for the return kept; with none of them, that score is left out.
    """
    fold, top = Reconstruction(), None
    with torch.no_grad():
        if len(dictionary) <= GREEDY_WIDTH:
            bias = dictionary.decode(torch.zeros(len(dictionary))).numpy()
            top = KeepTopFeatures(dictionary.directions().numpy(), bias)
    sums, count = None, 0
    kept_codes: list[np.ndarray] = []
    kept_episodes: list[np.ndarray] = []
    kept_observations: list[np.ndarray] = []
    reads, writes = str(reads_of(dictionary)), str(writes_of(dictionary))
    events = events_of(
        str(recording.header.environment.get("id", "")),
        [spec.name for spec in recording.header.columns if spec.kind == "metric"],
    )
    needed = sorted({name for event in events for name in event.needs})
    kept_metrics: list[np.ndarray] = []
    numbers: set[int] = set()
    with track(f"Scoring {dictionary.name}", recording.steps, "steps") as progress:
        columns = (reads, writes, "observation", "episode", *needed)
        for x, y, observation, episode, *metrics in recording.iterate(*columns):
            progress.advance(len(episode))
            mask = (
                np.ones(len(episode), np.bool_)
                if held_out is None
                else np.isin(episode, list(held_out))
            )
            if not mask.any():
                continue
            x, y, episode = (np.array(part[mask]) for part in (x, y, episode))
            codes, target, reconstruction = decomposed(dictionary, x, y)
            fold.update(target, reconstruction, codes)
            if top is not None:
                top.update(codes, target)
            total = y.astype(np.float64).sum(0)
            sums, count = total if sums is None else sums + total, count + len(y)
            numbers.update(np.unique(episode).tolist())
            if sum(map(len, kept_episodes)) < EVENT_STEPS and len(codes) == len(episode):
                kept_codes.append(codes)
                kept_episodes.append(episode)
                kept_observations.append(np.array(observation[mask]))
                kept_metrics.append(np.stack([m[mask] for m in metrics], 1) if metrics else codes[:, :0])
    if sums is None:
        raise NotEnoughData(
            f"None of the held-out episodes are in recording {recording.name!r}. "
            "Fit the dictionary again on this recording."
        )
    generator = np.random.default_rng(seed)
    observations = np.concatenate(kept_observations) if kept_observations else np.zeros((0, 1))
    chosen = generator.permutation(len(observations))[:AGREEMENT_STATES]
    site_mean = torch.from_numpy((sums / count).astype(np.float32))
    kept = None
    if seeds:
        kept = return_kept(
            agent,
            make_environment,
            dictionary,
            site_mean,
            seeds=seeds,
            deterministic=deterministic,
            seed=seed,
        )
    return Score(
        dictionary=dictionary.name,
        reconstruction=fold.result(),
        top_features=None if top is None else top.result(),
        agreement=agreement(agent, dictionary, torch.from_numpy(observations[chosen])),
        return_kept=kept,
        events=event_scores(events, needed, kept_codes, kept_metrics, kept_episodes),
        episodes=len(numbers),
        is_held_out=held_out is not None,
    )


def decomposed(
    dictionary: Dictionary, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes, target and reconstruction, one sample per step, or per position of a map."""
    with torch.no_grad():
        read = by_position(torch.from_numpy(x.astype(np.float32)))
        target = by_position(torch.from_numpy(y.astype(np.float32)))
        codes = dictionary.encode(read)
        reconstruction = dictionary.decode(codes)
    return tuple(part.reshape(-1, part.shape[-1]).numpy() for part in (codes, target, reconstruction))


def event_scores(
    events: Sequence[Any],
    names: Sequence[str],
    codes: Sequence[np.ndarray],
    metrics: Sequence[np.ndarray],
    episodes: Sequence[np.ndarray],
) -> tuple[EventScore, ...]:
    """Clinearity of every event that occurs often enough to be scored."""
    if not events or not codes:
        return ()
    columns = dict(zip(names, np.concatenate(metrics).T, strict=True))
    joined, episode = np.concatenate(codes), np.concatenate(episodes)
    scores = []
    for event in events:
        try:
            found = clinearity(joined, event.happens(columns), episode)
        except NotEnoughData:
            continue
        scores.append(EventScore(event.name, found))
    return tuple(scores)
