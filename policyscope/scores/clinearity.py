"""Clinearity: how well a threshold on one feature tells when an event happens.

Threshold and side are chosen on some episodes and judged on others, so that the best of many
features is not flattered; its interval is a percentile bootstrap over the held-out episodes.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from policyscope.detection import roc
from policyscope.episodes import FEWEST_EPISODES, hold_out, percentile_interval, resample
from policyscope.errors import InvalidInput, NotEnoughData, NotFinite
from policyscope.progress import track

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
        """The feature that detects the event best in training: chosen without the held-out steps."""
        return int(np.argmax(self.train_accuracy))

    def __repr__(self) -> str:
        i = self.best
        side = ">" if self.above[i] else "<="
        return (
            f"Clinearity(best of {len(self.auroc)}: #{i} {side} {self.threshold[i]:.3g}, balanced accuracy "
            f"{self.balanced_accuracy[i]:.2f} [{self.low[i]:.2f}, {self.high[i]:.2f}], "
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
    thresholds, above, train_accuracy, auroc = [], [], [], []
    with track("scoring features", codes.shape[1], "features") as progress:
        for first in range(0, codes.shape[1], FEATURES_AT_ONCE):
            for column in np.ascontiguousarray(codes[:, first : first + FEATURES_AT_ONCE].T):
                if not np.isfinite(column).all():
                    raise NotFinite(f"Feature {len(auroc)} holds NaN or Inf.")
                threshold, is_above, accuracy = best_threshold(column[~held_out], event[~held_out])
                thresholds.append(threshold)
                above.append(is_above)
                train_accuracy.append(accuracy)
                auroc.append(roc(column[held_out], event[held_out]).area)
                progress.advance()
    fires = (codes[held_out] > np.array(thresholds)) == np.array(above)
    values = balanced_accuracy(fires, event[held_out], episode[held_out], replicates, seed)
    low, high = percentile_interval(values[1:], level)
    return Clinearity(
        auroc=np.array(auroc),
        threshold=np.array(thresholds),
        above=np.array(above),
        train_accuracy=np.array(train_accuracy),
        balanced_accuracy=values[0],
        low=low,
        high=high,
        held_out_episodes=len(np.unique(episode[held_out])),
        held_out_events=int(event[held_out].sum()),
    )


def best_threshold(
    score: Float[np.ndarray, " step"], event: Bool[np.ndarray, " step"]
) -> tuple[float, bool, float]:
    """The threshold and side with the best balanced accuracy, and that accuracy."""
    curve = roc(score, event)
    advantage = curve.hit_rate - curve.false_alarm_rate
    best = int(np.argmax(np.abs(advantage)))
    accuracy = 0.5 + 0.5 * abs(float(advantage[best]))
    return float(curve.threshold[best]), bool(advantage[best] >= 0), accuracy


def balanced_accuracy(
    fires: Bool[np.ndarray, "step feature"],
    event: Bool[np.ndarray, " step"],
    episode: Int[np.ndarray, " step"],
    replicates: int,
    seed: int,
) -> Float[np.ndarray, "replicate feature"]:
    """Balanced accuracy on the data (first row) and on bootstrap replicates of its episodes."""
    numbers, place = np.unique(episode, return_inverse=True)
    member = np.zeros((len(numbers), len(episode)), np.float32)
    member[place, np.arange(len(episode))] = 1.0
    weights = np.concatenate([np.ones((1, len(numbers))), resample(len(numbers), replicates, seed)])
    hits = weights @ (member[:, event] @ fires[event].astype(np.float32))
    rejections = weights @ (member[:, ~event] @ (~fires[~event]).astype(np.float32))
    events = weights @ np.bincount(place, event, len(numbers))
    others = weights @ np.bincount(place, ~event, len(numbers))
    # A replicate may draw no event at all; it then says nothing.
    hit_rate = hits / np.where(events > 0, events, np.nan)[:, None]
    rejection_rate = rejections / np.where(others > 0, others, np.nan)[:, None]
    return 0.5 * (hit_rate + rejection_rate)


def check_events(
    event: Bool[np.ndarray, " step"],
    episode: Int[np.ndarray, " step"],
    held_out: Bool[np.ndarray, " step"],
) -> None:
    """Refuses events that a split by episode cannot judge."""
    if len(event) != len(held_out):
        raise InvalidInput(f"Got {len(event)} events for {len(held_out)} steps; they must agree.")
    count = len(np.unique(episode[held_out]))
    if count < FEWEST_EPISODES:
        raise NotEnoughData(
            f"{count} episodes are held out; an interval needs {FEWEST_EPISODES}. Record more episodes."
        )
    for part, name in ((~held_out, "training"), (held_out, "held-out")):
        for happened, kind in ((event, "with the event"), (~event, "without it")):
            seen = len(np.unique(episode[part & happened]))
            if seen < 2:
                raise NotEnoughData(
                    f"Only {seen} {name} episodes have steps {kind}; a threshold is judged on at "
                    "least 2. Record more episodes or choose a more frequent event."
                )
