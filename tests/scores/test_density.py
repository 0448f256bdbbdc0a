"""Density: what fires how often."""

import numpy as np

from policyscope.scores.density import EDGES, Density


def test_dead_rare_and_dense_features_are_told_apart() -> None:
    found = Density(np.array([0.0, 0.0, 1e-9, 2e-4, 0.04, 0.5, 0.51, 1.0]))
    assert found.never == 2
    assert found.dense == 2 / 8
    assert found.counts.sum() == 6
    assert found.counts[0] == 1  # rarer than the first edge, and yet not dead
    assert found.counts[-1] == 3
    document = found.to_json()
    assert len(document["edges"]) == len(document["counts"]) + 1 == len(EDGES)
    assert "dense 25%" in repr(found)
