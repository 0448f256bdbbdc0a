"""Clinearity: how well a threshold on one feature tells when an event happens.

Threshold and side are chosen on some episodes and judged on others, so that the best of many
features is not flattered; its interval is a percentile bootstrap over the held-out episodes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from policyscope.errors import NotEnoughData, NotFinite
from policyscope.progress import track
from policyscope.statistics.detection import roc
from policyscope.statistics.episodes import (
    FEWEST_EPISODES,
    GROUPS,
    hold_out,
    percentile_interval,
    resample,
)

# Features copied out at a time: one column of a wide matrix touches every line of it.
FEATURES_AT_ONCE = 64


@dataclass(frozen=True)
class Clinearity:
    """How well each feature detects the event; `above` says on which side of the threshold it lies.

    Balanced accuracy is the mean of the hit rate and the correct-rejection rate: 0.5 is chance.
    AUROC counts ties half and keeps its sign: under 0.5 means the feature fires without the event.
    """

    auroc: Float[np.ndarray, " feature"]
    threshold: Float[np.ndarray, " feature"]
    above: Bool[np.ndarray, " feature"]
    train_accuracy: Float[np.ndarray, " feature"]
    balanced_accuracy: Float[np.ndarray, " feature"]
    low: Float[np.ndarray, " feature"]
    high: Float[np.ndarray, " feature"]
    held_out_episodes: int
    held_out_events: int

    @property
    def best(self) -> int:
        """The feature that detects the event best in training; no held-out step had a say."""
        return int(np.argmax(self.train_accuracy))

    def __repr__(self) -> str:
        i = self.best
        side = ">" if self.above[i] else "<="
        return (
            f"Clinearity(best of {len(self.auroc)}: #{i} {side} {self.threshold[i]:.3g}, "
            f"balanced accuracy {self.balanced_accuracy[i]:.2f} "
            f"[{self.low[i]:.2f}, {self.high[i]:.2f}], "
            f"AUROC {self.auroc[i]:.2f}, {self.held_out_episodes} held-out episodes)"
        )


def clinearity(
    codes: Float[np.ndarray, "step feature"],
    event: Bool[np.ndarray, " step"],
    episode: Int[np.ndarray, " step"],
    *,
    held_out_share: float = 0.5,
    replicates: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Clinearity:
    """How well a threshold on each feature detects `event`.

    NotEnoughData unless both kinds of step occur in at least two training and two held-out episodes
    and at least four episodes are held out.
    """
    held_out = hold_out(episode, held_out_share, seed)
    check_events(event, episode, held_out)
    judge = Judge.of(event[held_out], episode[held_out], replicates, seed)
    chosen, auroc, accuracy, intervals = [], [], [], []
    with track("scoring features", codes.shape[1], "features") as progress:
        for first in range(0, codes.shape[1], FEATURES_AT_ONCE):
            columns = np.ascontiguousarray(codes[:, first : first + FEATURES_AT_ONCE].T)
            check_finite(columns, first)
            detectors = [best_threshold(column[~held_out], event[~held_out]) for column in columns]
            values = judge.accuracy(columns[:, held_out], detectors)
            chosen += detectors
            auroc += [roc(column[held_out], event[held_out]).area for column in columns]
            accuracy.append(values[0])
            intervals.append(percentile_interval(values[1:], level))
            progress.advance(len(columns))
    low, high = (np.concatenate(bounds) for bounds in zip(*intervals, strict=True))
    return Clinearity(
        auroc=np.array(auroc),
        threshold=np.array([detector.threshold for detector in chosen]),
        above=np.array([detector.above for detector in chosen]),
        train_accuracy=np.array([detector.accuracy for detector in chosen]),
        balanced_accuracy=np.concatenate(accuracy),
        low=low,
        high=high,
        held_out_episodes=len(np.unique(episode[held_out])),
        held_out_events=int(event[held_out].sum()),
    )


@dataclass(frozen=True)
class Detector:
    """A threshold on one feature, on which side the event lies, and its training accuracy."""

    threshold: float
    above: bool
    accuracy: float


def best_threshold(score: Float[np.ndarray, " step"], event: Bool[np.ndarray, " step"]) -> Detector:
    """The threshold and side with the best balanced accuracy."""
    curve = roc(score, event)
    advantage = curve.hit_rate - curve.false_alarm_rate
    best = int(np.argmax(np.abs(advantage)))
    accuracy = 0.5 + 0.5 * abs(float(advantage[best]))
    return Detector(float(curve.threshold[best]), bool(advantage[best] >= 0), accuracy)


@dataclass(frozen=True, eq=False)
class Judge:
    """Held-out events, and how often each group of episodes counts in each bootstrap replicate.

    The first replicate is the data itself.
    """

    event: Bool[np.ndarray, " step"]
    member: Any
    """[group, step], sparse: which steps are of which group."""
    weights: Float[np.ndarray, "replicate episode"]

    @classmethod
    def of(
        cls,
        event: Bool[np.ndarray, " step"],
        episode: Int[np.ndarray, " step"],
        replicates: int,
        seed: int,
    ) -> "Judge":
        """The judge of these held-out steps."""
        # Here, because it takes long to import and little needs it.
        from scipy.sparse import csr_array

        groups, place = np.unique(episode % GROUPS, return_inverse=True)
        steps = np.arange(len(event))
        member = csr_array((np.ones(len(event)), (place, steps)), (len(groups), len(event)))
        drawn = resample(len(groups), replicates, seed)
        return cls(event, member, np.concatenate([np.ones((1, len(groups))), drawn]))

    def accuracy(
        self, codes: Float[np.ndarray, "feature step"], detectors: Sequence[Detector]
    ) -> Float[np.ndarray, "replicate feature"]:
        """The balanced accuracy of each feature's detector in every replicate."""
        threshold = np.array([detector.threshold for detector in detectors])
        above = np.array([detector.above for detector in detectors])
        fires = threshold < codes.T
        says = (fires == above).astype(np.float64)
        claims = self.weights @ (self.member @ says)
        hits = self.weights @ (self.member @ (says * self.event[:, None]))
        events = (self.weights @ (self.member @ self.event.astype(np.float64)))[:, None]
        others = (self.weights @ (self.member @ (~self.event).astype(np.float64)))[:, None]
        # A replicate may draw no event at all; it then says nothing.
        hit_rate = hits / np.where(events > 0, events, np.nan)
        false_alarm_rate = (claims - hits) / np.where(others > 0, others, np.nan)
        return 0.5 * (hit_rate + 1 - false_alarm_rate)


def check_finite(columns: Float[np.ndarray, "feature step"], first: int) -> None:
    """Refuses codes with NaN or Inf, naming the feature."""
    bad = np.flatnonzero(~np.isfinite(columns).all(axis=1))
    if len(bad):
        raise NotFinite(f"Feature {first + int(bad[0])} holds NaN or Inf.")


def check_events(
    event: Bool[np.ndarray, " step"],
    episode: Int[np.ndarray, " step"],
    held_out: Bool[np.ndarray, " step"],
) -> None:
    """Refuses events that a split by episode cannot judge."""
    count = len(np.unique(episode[held_out]))
    if count < FEWEST_EPISODES:
        raise NotEnoughData(
            f"{count} episodes are held out; an interval needs {FEWEST_EPISODES}. "
            "Record more episodes."
        )
    for part, name in ((~held_out, "training"), (held_out, "held-out")):
        for happened, kind in ((event, "with the event"), (~event, "without it")):
            seen = len(np.unique(episode[part & happened]))
            if seen < 2:
                raise NotEnoughData(
                    f"Only {seen} {name} episodes have steps {kind}; a threshold is judged on at "
                    "least 2. Record more episodes or choose a more frequent event."
                )
