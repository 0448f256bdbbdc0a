"""Effects: intervals that cover planted truth, corrections that obey their laws, loud refusals.

Returns are planted as in CartPole: skewed, mean 163, standard deviation 74. A coverage over seeded
trials may miss nominal by the bias measured for its method and three binomial standard deviations.
"""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import config
from scipy import stats

from policyscope.errors import InvalidInput, NotEnoughData, NotFinite, UnknownName
from policyscope.experiments.effect import (
    CORRECTIONS,
    LEVEL,
    band,
    beyond_random,
    correct,
    fewest_directions,
    iqm,
    mean_interval,
    middle_mean,
    paired_difference,
)

MEAN, SPREAD = 163.0, 74.0
TRIALS = 600

p_values = st.lists(st.floats(0, 1), min_size=1, max_size=30).map(np.array)
returns = st.lists(st.floats(-500, 500), min_size=4, max_size=40).map(np.array)


@pytest.fixture
def without_shape_checks() -> Iterator[None]:
    """Leaves wrong shapes to our own errors, as in production."""
    before = config.jaxtyping_disable
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", before)


def draw(generator: np.random.Generator, *shape: int) -> np.ndarray:
    return generator.gamma((MEAN / SPREAD) ** 2, SPREAD**2 / MEAN, size=shape)


def assert_covers(hits: int, trials: int, nominal: float, bias: float = 0.0) -> None:
    deviation = np.sqrt(nominal * (1 - nominal) / trials)
    assert nominal - bias - 3 * deviation <= hits / trials <= nominal + bias + 3 * deviation


@pytest.mark.parametrize("episodes", [10, 20, 50])
@pytest.mark.parametrize("truth", [0.0, 25.0])
def test_paired_interval_covers_the_planted_difference(episodes: int, truth: float) -> None:
    generator = np.random.default_rng(episodes)
    shared = draw(generator, TRIALS, episodes)
    changed = shared + truth + generator.normal(0, 40, size=shared.shape)
    effects = [paired_difference(a, b) for a, b in zip(changed, shared, strict=True)]
    assert_covers(sum(effect.low <= truth <= effect.high for effect in effects), TRIALS, 0.95)


def test_paired_interval_covers_when_returns_are_skewed_and_unshared() -> None:
    generator = np.random.default_rng(1)
    changed, baseline = draw(generator, 2, TRIALS, 20)
    effects = [paired_difference(a, b, level=0.9) for a, b in zip(changed, baseline, strict=True)]
    assert_covers(sum(effect.low <= 0 <= effect.high for effect in effects), TRIALS, 0.9, bias=0.01)


# Skew costs t about 0.015 at 10 episodes, resampling costs the bootstrap the same at 50 to 100.
@pytest.mark.parametrize(
    ("episodes", "method"), [(10, "student t"), (49, "student t"), (50, "bootstrap")]
)
def test_mean_interval_covers_the_planted_mean(episodes: int, method: str) -> None:
    generator = np.random.default_rng(episodes)
    intervals = [
        mean_interval(row, generator=generator, replicates=500)
        for row in draw(generator, TRIALS, episodes)
    ]
    assert {interval.method for interval in intervals} == {method}
    hits = sum(interval.low <= MEAN <= interval.high for interval in intervals)
    assert_covers(hits, TRIALS, 0.95, bias=0.015)


@pytest.mark.parametrize(("episodes", "bias"), [(10, 0.025), (50, 0.015)])
def test_iqm_interval_covers_the_planted_iqm(episodes: int, bias: float) -> None:
    generator = np.random.default_rng(episodes)
    truth = float(middle_mean(draw(generator, 1, 1_000_000))[0])
    intervals = [
        iqm(row, generator=generator, replicates=500) for row in draw(generator, TRIALS, episodes)
    ]
    hits = sum(interval.low <= truth <= interval.high for interval in intervals)
    assert_covers(hits, TRIALS, 0.95, bias=bias)


def test_p_of_no_difference_is_uniform() -> None:
    generator = np.random.default_rng(2)
    p = [paired_difference(*draw(generator, 2, 20)).p for _ in range(TRIALS)]
    for share in (0.05, 0.2, 0.5):
        assert_covers(int(np.sum(np.array(p) > share)), TRIALS, 1 - share, bias=0.01)


def test_paired_difference_agrees_with_scipy() -> None:
    changed, baseline = draw(np.random.default_rng(3), 2, 25)
    effect = paired_difference(changed, baseline, level=0.9)
    theirs = stats.ttest_rel(changed, baseline)
    interval = theirs.confidence_interval(0.9)
    assert effect.p == pytest.approx(theirs.pvalue, rel=1e-9)
    assert (effect.low, effect.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert effect.episodes == 25


@given(returns, st.integers(0, 2**32 - 1))
def test_swapping_the_sides_mirrors_the_effect(changed: np.ndarray, seed: int) -> None:
    baseline = np.random.default_rng(seed).normal(0, 100, size=len(changed))
    one, other = paired_difference(changed, baseline), paired_difference(baseline, changed)
    assert (one.difference, one.low, one.high) == pytest.approx(
        (-other.difference, -other.high, -other.low)
    )
    assert one.p == pytest.approx(other.p)
    assert one.low <= one.difference <= one.high


def test_no_difference_at_all_has_p_one() -> None:
    same = np.full(30, 500.0)
    effect = paired_difference(same, same)
    assert (effect.difference, effect.low, effect.high, effect.p) == (0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize("step", [0.1, -7.0])
def test_a_constant_difference_has_the_p_of_the_sign_test(step: float) -> None:
    # 0.1 is not a binary fraction: the differences are equal up to rounding only.
    baseline = np.linspace(100.0, 400.0, 12)
    effect = paired_difference(baseline + step, baseline)
    assert effect.p == stats.binomtest(12, 12).pvalue
    assert effect.difference == effect.low == effect.high == pytest.approx(step)


def test_too_few_unpaired_or_broken_returns_are_refused() -> None:
    one = np.array([1.0])
    with pytest.raises(NotEnoughData, match="at least 2 values, but got 1"):
        paired_difference(one, one)
    with pytest.raises(NotEnoughData, match="at least 2 values, but got 0"):
        mean_interval(np.array([]), generator=np.random.default_rng(0))
    with pytest.raises(NotEnoughData, match="at least 4"):
        iqm(np.ones(3), generator=np.random.default_rng(0))
    with pytest.raises(NotFinite, match="Value 1 of 3 is nan"):
        mean_interval(np.array([1.0, np.nan, 2.0]), generator=np.random.default_rng(0))
    with pytest.raises(InvalidInput, match="got 95"):
        paired_difference(np.ones(3), np.ones(3), level=95.0)


def test_different_numbers_of_episodes_are_refused(without_shape_checks: None) -> None:
    with pytest.raises(InvalidInput, match="one has 3 episodes and the other 4"):
        paired_difference(np.ones(3), np.ones(4))


def test_iqm_is_the_trimmed_mean() -> None:
    values = draw(np.random.default_rng(4), 37)
    ours = iqm(values, generator=np.random.default_rng(0)).value
    assert ours == pytest.approx(stats.trim_mean(values, 0.25))


def test_bootstrap_is_the_same_for_the_same_generator() -> None:
    values = draw(np.random.default_rng(5), 64)
    one, other = (mean_interval(values, generator=np.random.default_rng(7)) for _ in range(2))
    assert one == other
    assert one.low < one.value < one.high


@given(p_values)
def test_correction_agrees_with_scipy_and_the_definition_of_holm(p: np.ndarray) -> None:
    assert correct(p) == pytest.approx(stats.false_discovery_control(p))
    order = np.argsort(p, kind="stable")
    holm, worst = {}, 0.0
    for place, index in enumerate(order):
        worst = max(worst, min(1.0, (len(p) - place) * p[index]))
        holm[index] = worst
    assert correct(p, "holm") == pytest.approx([holm[index] for index in range(len(p))])


@given(p_values)
def test_correction_never_lowers_p_and_keeps_its_order(p: np.ndarray) -> None:
    for method in CORRECTIONS:
        corrected = correct(p, method)
        assert np.all(corrected >= p - 1e-15)
        assert np.all(corrected <= 1)
        assert np.all(np.diff(corrected[np.argsort(p, kind="stable")]) >= 0)
    assert np.all(correct(p, "holm") >= correct(p) - 1e-12)


def test_correction_of_nothing_is_nothing_and_of_nonsense_an_error() -> None:
    assert correct(np.array([])).shape == (0,)
    with pytest.raises(InvalidInput, match=r"got 1\.5"):
        correct(np.array([0.1, 1.5]))
    with pytest.raises(InvalidInput, match="got nan"):
        correct(np.array([np.nan]))
    with pytest.raises(UnknownName, match="Did you mean 'holm'"):
        correct(np.array([0.1]), "hol")


@pytest.mark.parametrize(("directions", "attained"), [(10, 9 / 11), (39, 0.95), (79, 0.95)])
def test_band_holds_a_further_direction_as_often_as_it_says(
    directions: int, attained: float
) -> None:
    generator = np.random.default_rng(directions)
    trials = 2000
    effects = draw(generator, trials, directions + 1) - MEAN
    bands = [band(row[:-1]) for row in effects]
    assert [one.level for one in bands] == pytest.approx([attained] * trials)
    hits = sum(one.contains(row[-1]) for one, row in zip(bands, effects, strict=True))
    assert_covers(hits, trials, attained)


def test_band_counts_the_directions_that_do_as_well() -> None:
    nineteen = band(np.arange(19.0))
    assert (nineteen.low, nineteen.high, nineteen.level) == (0.0, 18.0, pytest.approx(0.9))
    assert nineteen.as_good(17.0) == 2
    assert nineteen.chance(17.0) == pytest.approx(3 / 20)
    assert nineteen.chance(100.0) == pytest.approx(1 / 20)
    with pytest.raises(NotEnoughData, match="random directions"):
        band(np.array([1.0]))


def test_effects_and_intervals_print_as_a_reader_writes_them() -> None:
    effect = paired_difference(np.array([3.0, 5.0, 4.0, 8.0]), np.array([1.0, 2.0, 3.0, 4.0]))
    assert str(effect) == "+2.5 [+0.4, +4.6]"
    interval = mean_interval(np.array([1.0, 2.0, 3.0, 4.0]), generator=np.random.default_rng(0))
    assert str(interval) == "2.5 [0.4, 4.6]"


SCREENS, FEATURES, DIRECTIONS, EPISODES = 300, 8, 39, 50
STRENGTHS = np.array([-2.5, -2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 2.5])
DOSES = {
    "linear": lambda push: 40 * push,
    "saturating": lambda push: 150 * np.tanh(push),
    "mostly harmful": lambda push: 20 * push - 150 * (1 - np.exp(-(push**2) / 2)),
}
"""What a push along the one direction that matters does to the mean return."""


def screen(
    dose: str, generator: np.random.Generator, planted: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Measured effects and standard errors [feature · strength, direction]; column 0 the features.

    Every direction is random in 32 units, but for `planted` features that are the one direction.
    """
    along = generator.normal(size=(FEATURES, 1 + DIRECTIONS)) * 2 / np.sqrt(32)
    along[:planted, 0] = 2.0
    norm = generator.uniform(0.5, 2, (FEATURES, 1, 1))
    truth = DOSES[dose](STRENGTHS[None, :, None] * norm * along[:, None, :])
    error = 30 / np.sqrt(EPISODES)
    effects = truth + error * generator.normal(size=truth.shape)
    return effects.reshape(-1, 1 + DIRECTIONS), np.full(truth.size // (1 + DIRECTIONS), error)


def confirmed(effects: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a band per condition would confirm, and what is confirmed with both p corrected."""
    p = 2 * stats.t.sf(np.abs(effects[:, 0]) / error, EPISODES - 1)
    is_shown = correct(p) <= LEVEL
    bands = [band(row[1:]) for row in effects]
    outside = [not b.contains(e) for b, e in zip(bands, effects[:, 0], strict=True)]
    return is_shown & outside, is_shown & (beyond_random(effects[:, 0], effects[:, 1:]) <= LEVEL)


@pytest.mark.parametrize("dose", DOSES)
def test_random_directions_with_real_effects_are_not_confirmed(dose: str) -> None:
    """The table has at most a chance of 5 % of even one; a band per condition had over half."""
    generator = np.random.default_rng(0)
    counts = np.array(
        [[c.sum() for c in confirmed(*screen(dose, generator))] for _ in range(SCREENS)]
    )
    by_band, now = counts.T
    assert (by_band > 0).mean() > 0.5
    assert by_band.mean() > 1.5
    assert (now > 0).mean() <= LEVEL + 3 * np.sqrt(LEVEL * (1 - LEVEL) / SCREENS)
    assert now.mean() < 0.3


def test_the_direction_that_matters_is_confirmed() -> None:
    generator = np.random.default_rng(1)
    screens = [confirmed(*screen("linear", generator, planted=2))[1] for _ in range(50)]
    planted = 2 * len(STRENGTHS)
    assert np.mean([found[:planted].mean() for found in screens]) > 0.8


def test_harm_that_is_less_than_random_is_not_beyond_random() -> None:
    controls = -100.0 + np.linspace(-10, 10, 19)[None]
    spared, harmed, helped = (
        float(beyond_random(np.array([effect]), controls)[0]) for effect in (-20.0, -180.0, 30.0)
    )
    assert (spared, harmed, helped) == (1.0, 1 / 20, 1 / 20)


def test_where_nothing_differs_nothing_is_beyond_random() -> None:
    np.testing.assert_array_equal(beyond_random(np.zeros(3), np.zeros((3, 19))), np.ones(3))


@pytest.mark.parametrize(("level", "fewest"), [(0.05, 19), (0.01, 99), (0.5, 1)])
def test_as_many_directions_as_reach_the_level(level: float, fewest: int) -> None:
    assert fewest_directions(level) == fewest
    assert 1 / (1 + fewest) <= level < 1 / fewest
