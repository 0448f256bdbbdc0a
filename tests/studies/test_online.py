"""Fitting while the agent plays: the same experience again, mixed, and none of it recorded."""

from pathlib import Path

import numpy as np
import pytest
import torch

from policyscope.address import Site
from policyscope.dictionaries.file import read_curves
from policyscope.dictionaries.topk import TopK
from policyscope.errors import InvalidInput
from policyscope.studies.online import Online, mixed
from policyscope.studies.study import Study

SITES = (Site.parse("fc2:in"), Site.parse("fc3:in"))


@pytest.fixture
def opened(study: Path) -> Study:
    return Study.open(study)


@pytest.fixture
def online(opened: Study) -> Online:
    return Online(opened.agent, opened.maker(), SITES, count=700, rows=8, data_seed=3)


def test_a_pass_is_the_same_again_and_the_next_is_new(online: Online) -> None:
    first, again, other = (torch.cat([x for x, _ in online.batches(e, 64)]) for e in (0, 0, 1))
    assert len(first) == online.count
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_pairs_stay_together_and_every_sample_comes_once(online: Online) -> None:
    played = [torch.cat(pair, 1) for pair in online.played(0, online.count)]
    out = [torch.cat(pair, 1) for pair in online.batches(0, 64)]
    rows = (np.unique(torch.cat(side).numpy(), axis=0) for side in (played, out))
    np.testing.assert_array_equal(*rows)


def test_batches_are_mixed_from_all_over_the_buffer(monkeypatch) -> None:
    monkeypatch.setattr("policyscope.studies.online.MIXED_SAMPLES", 100)
    values = torch.arange(1000.0)[:, None]
    pairs = [(part, -part) for part in values.split(10)]
    out = list(mixed(iter(pairs), 20, np.random.default_rng(0)))
    assert torch.equal(torch.cat([x for x, _ in out]).sort(0).values, values)
    assert all(torch.equal(x, -y) for x, y in out)
    spread = [float(x.max() - x.min()) for x, _ in out]
    assert min(spread) > 40, "a batch of twenty that came as neighbours"


def test_a_fit_online_needs_no_recording_and_is_scored_on_one(opened: Study) -> None:
    fitted = opened.fit(
        TopK(8, k=2),
        reads="fc2:in",
        writes="fc3:in",
        name="online",
        online=2000,
        seeds=1,
        epochs=3,
        batch_size=64,
    )
    again = opened.fit(
        TopK(8, k=2),
        reads="fc2:in",
        writes="fc3:in",
        name="again",
        online=2000,
        seeds=1,
        epochs=3,
        batch_size=64,
    )
    first, second = fitted.state_dict(), again.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert opened.notes("online")["recording"] is None
    score = opened.score("online", episodes=0)
    assert score.is_held_out
    assert score.reconstruction.unexplained < 0.9
    assert not list((opened.directory / "fits").glob("**/*.safetensors"))


def test_errors_are_weighed_by_what_they_do_where_that_is_asked_for(opened: Study) -> None:
    how = {"reads": "fc3:in", "writes": "fc3:in", "seeds": 1, "epochs": 8, "batch_size": 64}
    unexplained = {}
    for weight in (0.0, 10.0):
        name = f"b{weight:g}"
        opened.fit(TopK(4, k=1), name=name, behaviour=weight, **how)
        curves = read_curves(opened.directory / "dictionaries" / name)
        assert curves is not None
        unexplained[weight] = curves.parts.get("behaviour")
    assert unexplained[0.0] is None
    assert unexplained[10.0][-1] < 0.5 * unexplained[10.0][0]


def test_no_samples_are_refused(opened: Study) -> None:
    with pytest.raises(InvalidInput, match="-5 samples"):
        opened.fit(TopK(8, k=2), reads="fc2:in", writes="fc3:in", online=-5)
