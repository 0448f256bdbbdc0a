"""A sparse dictionary finds directions that were planted; one that learns nothing finds none."""

import numpy as np
import pytest
import torch

from policyscope.dictionaries.dictionary import Dictionary
from policyscope.dictionaries.fit import fit
from policyscope.dictionaries.random import Random
from policyscope.dictionaries.topk import TopK
from policyscope.scores.stability import match
from policyscope.testing.planted import planted_dictionary, planted_directions, planted_parts


def recovered(dictionary: Dictionary) -> float:
    """The share of 48 directions in 24 units that the dictionary finds in 8,000 samples."""
    directions = planted_directions(48, 24)
    x, _ = planted_dictionary(directions, 8000, active=(1, 2), noise=0.02)
    # Fewer and larger steps than on agents: seconds are enough.
    schedule = dictionary.schedule.changed(epochs=10, batch_size=256, learning_rate=3e-3)
    found = fit(dictionary, x, x, schedule=schedule).dictionary.directions()
    return float((match(directions.numpy(), found.numpy())[1] >= 0.9).mean())


def test_topk_recovers_planted_directions():
    # Half as wide again as the truth, for nobody would know how many there are.
    assert recovered(TopK(72, k=2)) >= 0.9


def test_what_learns_no_encoder_recovers_nothing():
    # Also: a fit of the seed of the data is not born with the truth.
    assert recovered(Random(48, k=2)) < 0.1


@pytest.mark.parametrize("make", [planted_directions, planted_parts])
def test_what_is_planted_is_what_is_said(make):
    directions = make(40, 16)
    assert directions.norm(dim=1).numpy() == pytest.approx(1, abs=1e-6)
    x, codes = planted_dictionary(directions, 5000, active=(2, 4), noise=0.0, seed=1)
    torch.testing.assert_close(x, codes @ directions)
    counts = np.bincount((codes > 0).sum(1).numpy())
    assert len(counts) == 5
    assert counts[:2].sum() == 0
    assert counts[2:].min() > 5000 / 3 * 0.9
    amounts = codes[codes > 0]
    assert 0.5 <= float(amounts.min()) < 0.51
    assert 1.49 < float(amounts.max()) <= 1.5
    noisy, same = planted_dictionary(directions, 5000, active=(2, 4), noise=0.1, seed=1)
    assert torch.equal(codes, same)
    assert float((noisy - x).std()) == pytest.approx(0.1, rel=0.02)


def test_parts_are_never_negative_and_touch_few_units():
    parts = planted_parts(64, 32)
    assert (parts >= 0).all()
    assert 0.1 < float((parts > 0).float().mean()) < 0.2
