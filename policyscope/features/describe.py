"""Everything that is known of each feature of a dictionary, from one recording."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from policyscope.agents.agent import Agent
from policyscope.dictionaries.dictionary import Dictionary
from policyscope.dictionaries.feature import Feature
from policyscope.document import strict
from policyscope.envs.metric import metrics_of
from policyscope.errors import NotEnoughData
from policyscope.features.correlate import Correlate, Correlation, Correlations
from policyscope.features.effects import ActionEffects, action_effects
from policyscope.features.label import Evidence, Label
from policyscope.features.labellers.rules import RuleLabeller
from policyscope.features.moments import CollectMoments, TopMoment, TopMoments
from policyscope.features.statistics import (
    FeatureStatistics,
    FeatureSummary,
    Histogram,
    HistogramCounts,
    even_edges,
)
from policyscope.interventions.code import by_position
from policyscope.interventions.target import reads_of
from policyscope.progress import track
from policyscope.recordings.recording import Recording
from policyscope.rollouts.states import sample_states
from policyscope.table import Column, Shown, Table

HISTOGRAM_BINS = 40
LABEL_STEPS = 200_000
EFFECT_STATES = 4096
MOSTLY = 0.5


@dataclass(frozen=True)
class Codes:
    """A stretch of a recording as features: what every statistic takes in."""

    codes: Float[np.ndarray, "step feature"]
    metrics: Float[np.ndarray, "step metric"]
    episode: Int[np.ndarray, " step"]
    step: Int[np.ndarray, " step"]

    def where_known(self) -> "Codes":
        """The steps at which every metric is known."""
        known = np.isfinite(self.metrics).all(axis=1)
        if known.all():
            return self
        return Codes(self.codes[known], self.metrics[known], self.episode[known], self.step[known])


def known_metrics(recording: Recording) -> tuple[tuple[str, ...], dict[str, float]]:
    """The metrics that are known at half the steps or more, and the share known of the others.

    A metric may be NaN where it has no meaning, as the place of a key in a level without one.
    """
    names = metric_columns(recording)
    known = np.zeros(len(names))
    for metrics in recording.iterate(*names) if names else ():
        known += [np.isfinite(metric).sum() for metric in metrics]
    shares = dict(zip(names, (known / max(recording.steps, 1)).tolist(), strict=True))
    kept = tuple(name for name in names if shares[name] >= MOSTLY)
    return kept, {name: shares[name] for name in names if name not in kept}


def metric_columns(recording: Recording) -> tuple[str, ...]:
    """The metrics that a recording holds."""
    return tuple(spec.name for spec in recording.header.columns if spec.kind == "metric")


def stream_codes(
    recording: Recording, dictionary: Dictionary, names: Sequence[str]
) -> Iterator[Codes]:
    """The whole recording as codes and the named metrics, shard by shard.

    Of a map, each feature's strongest position.
    """
    site = str(reads_of(dictionary))
    for activation, episode, step, *metrics in recording.iterate(site, "episode", "step", *names):
        yield Codes(
            encode(dictionary, activation),
            np.stack([np.asarray(m, np.float64) for m in metrics], axis=1)
            if metrics
            else np.zeros((len(episode), 0)),
            np.asarray(episode),
            np.asarray(step),
        )


def encode(
    dictionary: Dictionary, activation: Float[np.ndarray, "step ..."]
) -> Float[np.ndarray, "step feature"]:
    """The codes of recorded activations."""
    with torch.no_grad():
        values = by_position(torch.from_numpy(np.array(activation, np.float32)))
        codes = dictionary.encode(values)
        return (codes.flatten(1, -2).amax(1) if codes.dim() > 2 else codes).numpy()


@dataclass(frozen=True, eq=False)
class FeatureCard:
    """One feature: when it fires, what it goes with, what it does, and what one might call it."""

    feature: Feature
    maximum: float
    mean: float
    std: float
    firing_rate: float
    is_dead: bool
    edges: Float[np.ndarray, " edge"]
    counts: Int[np.ndarray, " bin"]
    top: tuple[TopMoment, ...]
    correlations: tuple[Correlation, ...]
    label: Label | None
    output: str | None = None
    direct_effect: tuple[float, ...] = ()
    measured_effect: tuple[float, ...] = ()
    measured_low: tuple[float, ...] = ()
    measured_high: tuple[float, ...] = ()
    effect_states: int = 0
    effect_episodes: int = 0
    effect_reason: str = ""
    """Why effects are missing, where they are."""

    def __str__(self) -> str:
        said = "dead" if self.is_dead else str(self.label or "no label")
        return f"Feature {self.feature.address}  {said}"

    def to_json(self, recording: str) -> dict[str, Any]:
        """The entry of `features --json`."""
        return {
            "index": self.feature.index,
            "address": str(self.feature.address),
            "max": self.maximum,
            "mean": self.mean,
            "std": self.std,
            "firing_rate": self.firing_rate,
            "dead": self.is_dead,
            "histogram": {"edges": self.edges.tolist(), "counts": self.counts.tolist()},
            "top": [
                {
                    "moment": str(moment.address(recording)),
                    "activation": moment.activation,
                    "metrics": moment.metrics,
                }
                for moment in self.top
            ],
            "correlations": {
                c.metric: {
                    "r": strict(c.r),
                    "low": strict(c.low),
                    "high": strict(c.high),
                    "episodes": c.episodes,
                    "note": c.reason,
                }
                for c in self.correlations
            },
            "action_effect": {
                "output": self.output,
                "direct": [strict(v) for v in self.direct_effect],
                "measured": [strict(v) for v in self.measured_effect],
                "measured_low": [strict(v) for v in self.measured_low],
                "measured_high": [strict(v) for v in self.measured_high],
                "states": self.effect_states,
                "episodes": self.effect_episodes,
                "reason": self.effect_reason,
            },
            "label": None if self.label is None else label_to_json(self.label),
        }


def label_to_json(label: Label) -> dict[str, Any]:
    """A label as JSON."""
    return {
        "text": label.text,
        "rule": label.rule,
        "precision": strict(label.precision),
        "recall": strict(label.recall),
        "auroc": strict(label.auroc),
        "base_rate": strict(label.base_rate),
        "target": label.target,
        "support": label.support,
        "episodes": label.episodes,
        "status": label.status,
        "source": label.source,
        "note": label.note,
    }


@dataclass(frozen=True, eq=False)
class Lead:
    """A feature and the correlation that points to it. A lead, not a finding."""

    feature: Feature
    correlation: Correlation

    def __str__(self) -> str:
        c = self.correlation
        return f"Feature {self.feature.address}  r = {c.r:+.2f} [{c.low:+.2f}, {c.high:+.2f}]"

    __repr__ = __str__


@dataclass(frozen=True, eq=False)
class FeatureTable(Shown):
    """All features of a dictionary, described from one recording."""

    dictionary: Dictionary
    recording: str
    steps: int
    episodes: int
    metrics: tuple[str, ...]
    cards: tuple[FeatureCard, ...]
    correlations: Correlations | None = field(default=None, repr=False)
    left_out: Mapping[str, float] = field(default_factory=dict)
    """Metrics unknown at most steps, with the share of steps at which they are known."""

    def __len__(self) -> int:
        return len(self.cards)

    def __getitem__(self, index: int) -> FeatureCard:
        return self.cards[self.dictionary[index].index]

    def strongest(self, metric: str) -> Lead:
        """The feature whose |r| with `metric` is largest."""
        if self.correlations is None:
            raise NotEnoughData(
                f"{self.recording} has {self.episodes} episodes; correlations need at least four."
            )
        best = self.correlations.strongest(metric)
        return Lead(self.dictionary[best.feature_index], best)

    def table(self) -> Table:
        """One row per feature."""
        columns = (
            Column("#", "d"),
            Column("fires", ".1%"),
            Column("max", ".3g"),
            Column("mean", ".3g"),
            Column("goes with", side="left"),
            Column("label", side="left"),
            Column("precision", ".2f"),
            Column("recall", ".2f"),
            Column("AUROC", ".2f"),
        )
        rows = tuple(
            (
                card.feature.index,
                card.firing_rate,
                card.maximum,
                card.mean,
                strongest_of(card),
                "dead" if card.is_dead else (card.label.text if card.label else None),
                card.label.precision if card.label else None,
                card.label.recall if card.label else None,
                card.label.auroc if card.label else None,
            )
            for card in self.cards
        )
        note = (
            f"{self.steps:,} steps in {self.episodes} episodes of {self.recording}; r with 95 % "
            "bootstrap intervals over episodes; labels scored on held-out episodes."
        )
        for name, share in self.left_out.items():
            note += f" Left out: {name}, known at {share:.0%} of the steps."
        if self.cards and self.cards[0].effect_reason:
            which = "direct effects" if self.cards[0].output else "effects"
            note += f" No {which} on the actions: {self.cards[0].effect_reason}"
        return Table(f"Features of {self.dictionary.name}", columns, rows, note)

    def to_json(self) -> dict[str, Any]:
        """The document of `features --json`."""
        return {
            "dictionary": self.dictionary.name,
            "recording": self.recording,
            "steps": self.steps,
            "episodes": self.episodes,
            "metrics": list(self.metrics),
            "metrics_left_out": dict(self.left_out),
            "features": [card.to_json(self.recording) for card in self.cards],
        }


def strongest_of(card: FeatureCard) -> str | None:
    """The metric a feature goes with most, as text."""
    clear = [c for c in card.correlations if math.isfinite(c.low) and c.low * c.high > 0]
    if not clear:
        return None
    best = max(clear, key=lambda c: abs(c.r))
    return f"{best.metric} {best.r:+.2f} [{best.low:+.2f}, {best.high:+.2f}]"


def describe(
    agent: Agent,
    recording: Recording,
    dictionary: Dictionary,
    *,
    top: int = 5,
    seed: int = 0,
) -> FeatureTable:
    """Statistics, histogram, top moments, correlations, action effects and rule labels.

    Reads the recording twice, shard by shard. Where there are too few episodes for an interval or
    a held-out score, the field says so instead of pretending.
    """
    if recording.steps == 0:
        raise NotEnoughData(f"Recording {recording.name!r} is empty. Record some steps first.")
    names, left_out = known_metrics(recording)
    statistics, moments = FeatureStatistics(), CollectMoments(names, count=top)
    correlate = Correlate(names) if names else None
    with track(f"Describing {dictionary.name}", 2 * recording.steps, "steps") as progress:
        for part in stream_codes(recording, dictionary, names):
            statistics.update(part.codes)
            moments.update(part.codes, part.metrics, part.episode, part.step)
            known = part.where_known()
            if correlate is not None and len(known.codes):
                correlate.update(known.codes, known.metrics, known.episode)
            progress.advance(len(part.codes))
        summary = statistics.result()
        histogram = Histogram(even_edges(summary.minimum, summary.maximum, HISTOGRAM_BINS))
        sample: list[Codes] = []
        for part in stream_codes(recording, dictionary, names):
            histogram.update(part.codes)
            if sum(len(kept.codes) for kept in sample) < LABEL_STEPS:
                sample.append(part.where_known())
            progress.advance(len(part.codes))
    try:
        correlations = correlate.result() if correlate is not None else None
    except NotEnoughData:
        correlations = None
    labels = rule_labels(recording, names, sample, seed) if names else None
    effects = effects_on(agent, recording, dictionary, seed)
    return FeatureTable(
        dictionary=dictionary,
        recording=recording.name,
        steps=recording.steps,
        episodes=len(recording.episodes),
        metrics=names,
        left_out=left_out,
        cards=make_cards(
            dictionary, summary, histogram.result(), moments.result(), correlations, labels, effects
        ),
        correlations=correlations,
    )


def rule_labels(
    recording: Recording, names: Sequence[str], sample: Sequence[Codes], seed: int
) -> Sequence[Label] | None:
    """A rule for every feature; None where there are too few episodes to score one."""
    evidence = evidence_of(recording, names, sample, seed)
    try:
        return RuleLabeller(evidence).label_all(np.concatenate([part.codes for part in sample]))
    except NotEnoughData:
        return None


def evidence_of(
    recording: Recording, names: Sequence[str], sample: Sequence[Codes], seed: int
) -> Evidence:
    """What labels rest on: the metrics of a part of a recording, in their words and units."""
    environment = str(recording.header.environment.get("id", ""))
    words = {
        metric.name: metric.words for metric in metrics_of(environment) if metric.words is not None
    }
    return Evidence(
        names=tuple(names),
        metrics=np.concatenate([part.metrics for part in sample]),
        episode=np.concatenate([part.episode for part in sample]),
        words=words,
        units={name: recording.spec(name).unit for name in names},
        seed=seed,
    )


def effects_on(
    agent: Agent, recording: Recording, dictionary: Dictionary, seed: int
) -> ActionEffects:
    """The effects of the features on the agent's outputs, over recorded states."""
    states = sample_states(recording, EFFECT_STATES, agent=agent, seed=seed)
    return action_effects(agent, dictionary, states, seed=seed)


def make_cards(
    dictionary: Dictionary,
    summary: FeatureSummary,
    histogram: HistogramCounts,
    moments: TopMoments,
    correlations: Correlations | None,
    labels: Sequence[Label] | None,
    effects: ActionEffects,
) -> tuple[FeatureCard, ...]:
    """What was found, feature by feature."""
    cards = []
    for index, feature in enumerate(dictionary):
        cards.append(
            FeatureCard(
                feature=feature,
                maximum=float(summary.maximum[index]),
                mean=float(summary.mean[index]),
                std=float(summary.std[index]),
                firing_rate=float(summary.firing_rate[index]),
                is_dead=bool(summary.is_dead[index]),
                edges=histogram.edges[index],
                counts=histogram.counts[index],
                top=moments.of(index),
                correlations=() if correlations is None else correlations.of(index),
                label=None if labels is None else labels[index],
                output=effects.output,
                direct_effect=tuple(effects.direct[index].tolist()),
                measured_effect=tuple(effects.measured[index].tolist()),
                measured_low=tuple(effects.low[index].tolist()),
                measured_high=tuple(effects.high[index].tolist()),
                effect_states=int(effects.states[index]),
                effect_episodes=int(effects.episodes[index]),
                effect_reason=effects.reason,
            )
        )
    return tuple(cards)
