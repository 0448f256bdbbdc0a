"""The ROC curve against counting pairs."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from policyscope.errors import NotEnoughData
from policyscope.statistics.detection import roc


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=30))
def test_the_area_is_the_chance_that_an_event_scores_higher(pairs):
    score = np.array([float(value) for value, _ in pairs])
    event = np.array([happened for _, happened in pairs])
    assume(event.any() and not event.all())
    difference = score[event][:, None] - score[~event][None, :]
    assert roc(score, event).area == pytest.approx(
        np.mean((difference > 0) + 0.5 * (difference == 0))
    )


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=30))
def test_each_point_is_the_detector_it_names(pairs):
    score = np.array([float(value) for value, _ in pairs])
    event = np.array([happened for _, happened in pairs])
    assume(event.any() and not event.all())
    curve = roc(score, event)
    assert list(curve.threshold) == sorted(curve.threshold)
    for threshold, hit_rate, false_alarm_rate in zip(
        curve.threshold, curve.hit_rate, curve.false_alarm_rate, strict=True
    ):
        assert hit_rate == pytest.approx(np.mean(score[event] > threshold))
        assert false_alarm_rate == pytest.approx(np.mean(score[~event] > threshold))


def test_a_detector_is_judged_on_both_kinds():
    with pytest.raises(NotEnoughData, match="0 of 3 steps are events"):
        roc(np.zeros(3), np.zeros(3, bool))
