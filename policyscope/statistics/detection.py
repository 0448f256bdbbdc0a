"""How well a graded score detects a yes-or-no event: the ROC curve and the area under it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from policyscope.errors import NotEnoughData


@dataclass(frozen=True)
class Roc:
    """Hits and false alarms of the detector `score > threshold`, thresholds ascending from -inf."""

    threshold: Float[np.ndarray, " point"]
    hit_rate: Float[np.ndarray, " point"]
    false_alarm_rate: Float[np.ndarray, " point"]

    @property
    def area(self) -> float:
        """Chance that an event scores above a non-event, ties counting half (AUROC)."""
        return float(-np.trapezoid(self.hit_rate, self.false_alarm_rate))


def roc(score: Float[np.ndarray, " step"], event: Bool[np.ndarray, " step"]) -> Roc:
    """The ROC curve of `score`; needs at least one event and one non-event."""
    events = int(event.sum())
    others = len(event) - events
    if events == 0 or others == 0:
        raise NotEnoughData(
            f"{events} of {len(event)} steps are events; a detector is judged on both kinds."
        )
    # Only what exceeds the minimum is sorted: sparse codes are mostly ties at zero.
    floor = score.min()
    above = np.flatnonzero(score > floor)
    order = above[np.argsort(score[above])]
    values, happened = score[order], event[order]
    last = np.flatnonzero(np.append(values[1:] != values[:-1], True)) if len(order) else order
    hits_up_to = events - happened.sum() + np.append(0, np.cumsum(happened)[last])
    steps_up_to = len(event) - len(order) + np.append(0, last + 1)
    return Roc(
        threshold=np.concatenate([[-np.inf, floor], values[last]]).astype(np.float64),
        hit_rate=np.append(1.0, 1 - hits_up_to / events),
        false_alarm_rate=np.append(1.0, 1 - (steps_up_to - hits_up_to) / others),
    )
