"""Monosemanticity: features of one metric each beside units that mix them, and fairly so."""

import numpy as np
import pytest

from policyscope.errors import NotEnoughData
from policyscope.scores.monosemanticity import (
    Monosemanticity,
    area,
    event_rates,
    median_known,
    monosemanticity,
)
from policyscope.statistics.detection import roc

NAMES = ("a", "b", "c", "d")
EPISODE = np.repeat(np.arange(40), 60)


def metrics(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(len(EPISODE), 4))


def measure(codes: np.ndarray, units: np.ndarray, seen: np.ndarray) -> Monosemanticity:
    return monosemanticity(codes.astype(np.float32), units.astype(np.float32), seen, EPISODE, NAMES)


def test_features_of_one_metric_are_told_from_units_that_mix_them() -> None:
    seen = metrics()
    codes = np.maximum(np.concatenate([seen - 1, -seen - 1], axis=1), 0)
    mixed = np.tanh(seen @ np.random.default_rng(1).normal(size=(4, 12)))
    found = measure(codes, mixed, seen)
    assert (found.features > 0.98).all()
    np.testing.assert_array_equal(found.metric, [0, 1, 2, 3, 0, 1, 2, 3])
    assert found.median_of_units < 0.93
    assert 0 < found.difference.low < found.difference.value < found.difference.high
    assert found.to_json()["metric_per_feature"][:2] == ["a", "b"]
    assert "difference" in repr(found)


def test_bands_and_both_tails_of_a_unit_are_seen() -> None:
    seen = metrics()
    band = (np.abs(seen) < 0.3).astype(float)
    found = measure(band, np.tanh(-seen), seen)
    assert (found.features > 0.95).all()
    assert (found.units > 0.98).all()


def test_what_no_metric_tells_is_at_chance() -> None:
    noise = np.random.default_rng(2).normal(size=(len(EPISODE), 30))
    found = measure(np.maximum(noise - 1, 0), noise, metrics())
    assert abs(found.median_of_features - 0.5) < 0.02
    assert abs(found.median_of_units - 0.5) < 0.02
    assert found.difference.low < 0 < found.difference.high


@pytest.mark.parametrize("threshold", [0.5, 2.0])
def test_rarity_alone_is_no_merit(threshold: float) -> None:
    """The same noisy readings, as dense units and as features that fire rarely, do equally well."""
    generator = np.random.default_rng(3)
    seen = metrics(4)
    readings = np.repeat(seen, 5, axis=1) + 0.7 * generator.normal(size=(len(EPISODE), 20))
    spread = readings / readings.std(0)
    found = measure(np.maximum(spread - threshold, 0), readings, seen)
    assert abs(found.difference.value) < 0.02
    rare, common = (
        measure(np.maximum(spread - t, 0), readings, seen).median_of_features for t in (2.0, 0.5)
    )
    assert rare > common + 0.01  # which is why units are asked at the rates of the features


def test_what_fires_too_rarely_is_not_judged() -> None:
    seen = metrics()
    codes = np.zeros((len(EPISODE), 3))
    codes[:, 0] = np.maximum(seen[:, 0], 0)
    codes[:4, 1] = 1
    found = measure(codes, seen, seen)
    np.testing.assert_array_equal(np.isfinite(found.features), [True, False, False])
    np.testing.assert_array_equal(found.metric, [0, -1, -1])
    assert found.to_json()["features_judged"] == 1


def test_an_unknown_metric_is_a_bin_of_its_own() -> None:
    seen = metrics()
    hidden = np.random.default_rng(5).random(len(EPISODE)) < 0.2
    seen[hidden, 2] = np.nan
    codes = hidden[:, None].astype(float)
    found = measure(codes, np.nan_to_num(seen), seen)
    assert found.features[0] > 0.99
    assert found.metric[0] == 2


def test_what_cannot_be_measured_is_refused() -> None:
    seen = metrics()
    with pytest.raises(NotEnoughData, match="no metric that varies"):
        measure(seen, seen, np.ones_like(seen))
    with pytest.raises(NotEnoughData, match="no metric that varies"):
        measure(seen, seen, seen[:, :0])
    with pytest.raises(NotEnoughData, match="No feature fires"):
        measure(np.zeros_like(seen), seen, seen)
    with pytest.raises(NotEnoughData, match="No unit varies"):
        measure(seen, np.zeros_like(seen), seen)
    few = EPISODE < 6
    with pytest.raises(NotEnoughData, match="3 episodes are held out"):
        monosemanticity(seen[few], seen[few], seen[few], EPISODE[few], NAMES)


def test_the_area_of_bins_is_that_of_the_roc_curve() -> None:
    generator = np.random.default_rng(6)
    bins, event = generator.integers(0, 5, 300), generator.random(300) < 0.4
    events, others = (np.bincount(bins[chosen], minlength=5)[None] for chosen in (event, ~event))
    np.testing.assert_allclose(area(events, others)[0], roc(bins.astype(float), event).area)
    assert np.isnan(area(events, 0 * others)[0])


def test_dense_codes_have_their_strongest_tenth_as_the_event() -> None:
    codes = np.zeros((100, 3))
    codes[:20, 0], codes[:80, 1] = 1, 1
    np.testing.assert_allclose(event_rates(codes), [0.2, 0.1, 0.0])


def test_the_median_leaves_the_unknown_out() -> None:
    values = np.array([[1.0, np.nan, 3.0], [np.nan] * 3, [5.0, 1.0, 2.0]])
    np.testing.assert_array_equal(median_known(values), [2.0, np.nan, 2.0])
