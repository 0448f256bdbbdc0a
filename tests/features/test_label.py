"""Labels as values and the evidence they rest on."""

import numpy as np
import pytest

from policyscope.envs.metric import Words
from policyscope.errors import InvalidInput, NotEnoughData, NotFinite
from policyscope.features.label import Evidence, Label


def evidence(**changes):
    given = {
        "names": ("speed",),
        "metrics": np.arange(20.0)[:, None],
        "episode": np.arange(20) // 4,
    }
    return Evidence(**(given | changes))


def test_a_label_prints_its_scores():
    label = Label("hot", "x > 1", 0.9, 0.8, 0.95, "activation > 0", 10, 2, 0.1)
    assert str(label) == (
        "hot: x > 1 (held out: precision 0.90 against 0.10 by chance, recall 0.80, AUROC 0.95)"
    )


def test_metrics_without_words_are_high_or_low():
    assert evidence().words_for("speed") == Words(
        "speed {not} {very} low", "speed {not} {very} high", 9.5
    )
    words = Words("slow", "fast")
    assert evidence(words={"speed": words}).words_for("speed") is words


def test_evidence_that_does_not_fit_is_refused():
    with pytest.raises(InvalidInput, match="they must agree"):
        evidence(names=("speed", "angle"))
    with pytest.raises(InvalidInput, match="No metrics were given"):
        evidence(names=(), metrics=np.zeros((20, 0)))
    with pytest.raises(NotFinite, match="Metric 'speed' is NaN or Inf in episode 0"):
        evidence(metrics=np.full((20, 1), np.nan))
    with pytest.raises(NotEnoughData, match="Got 1 episodes"):
        _ = evidence(episode=np.zeros(20, int)).held_out
