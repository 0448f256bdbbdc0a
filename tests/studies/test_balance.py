"""Balance: what is rare in a recording is as frequent in the samples of a fit."""

import numpy as np
import pytest

from policyscope.dictionaries.relu import ReLU
from policyscope.errors import InvalidInput, UnknownName
from policyscope.studies import fitting
from policyscope.studies.balance import balanced, metric_of
from policyscope.studies.study import Study

HOW = {"reads": "fc2:in", "writes": "fc2:in", "seeds": 1, "epochs": 1}


def test_each_of_few_values_comes_evenly():
    values = np.repeat([0.0, 1.0, 5.0], [9000, 900, 100])
    chosen = values[balanced(values, np.random.default_rng(0))]
    assert len(chosen) == 10_000
    for value in (0.0, 1.0, 5.0):
        # Three standard errors of a share of a third.
        assert (chosen == value).mean() == pytest.approx(1 / 3, abs=0.015)


def test_the_tail_of_many_values_comes_as_often_as_the_middle():
    values = np.random.default_rng(1).normal(size=20_000)
    chosen = values[balanced(values, np.random.default_rng(0))]
    assert (np.abs(values) > 2).mean() < 0.05
    assert (np.abs(chosen) > 2).mean() > 0.12
    assert np.isin(chosen, values).all()


def test_a_fit_is_given_what_was_asked_for(study):
    opened = Study.open(study)
    recording = opened.recording()
    episodes = set(np.unique(np.asarray(recording.read("episode"))).tolist())
    values = metric_of(recording, "pole_angle", episodes, 1)
    assert len(values) == recording.steps
    opened.fit(ReLU(2), name="even", balance="pole_angle", **HOW)
    opened.fit(ReLU(2), name="plain", **HOW)
    assert opened.notes("even")["balance"] == "pole_angle"
    assert opened.notes("plain")["balance"] is None
    weights = [opened.dictionary(name).directions() for name in ("even", "plain")]
    assert not np.allclose(*weights)


def test_what_cannot_be_balanced_is_said(study, monkeypatch):
    opened = Study.open(study)
    with pytest.raises(UnknownName, match="No recorded metric in 'main' called 'pole_angel'"):
        opened.fit(ReLU(2), balance="pole_angel", **HOW)
    with pytest.raises(InvalidInput, match="takes states as they come"):
        opened.fit(ReLU(2), balance="pole_angle", online=100, **HOW)
    monkeypatch.setattr(fitting, "is_too_large", lambda *_: True)
    with pytest.raises(InvalidInput, match="too large to hold in memory"):
        opened.fit(ReLU(2), balance="pole_angle", **HOW)
