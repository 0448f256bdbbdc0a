"""Nudges: a planted benefit is found, pure noise is not, and the verdict says which.

The planted world: each candidate is its true effect on the mean return. Every episode has a part
bound to its seed that all conditions share (skewed, as CartPole's returns are) and one of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
import pytest

from policyscope.errors import InvalidInput, NotEnoughData
from policyscope.experiments.effect import paired_difference
from policyscope.experiments.nudge import Nudge, luck_of_best, search_and_confirm
from policyscope.rollouts.outcomes import Outcomes

SEARCH, CONFIRM = range(40), range(1000, 1040)
RUNS = 200


@dataclass(frozen=True, eq=False)
class Planted:
    """A candidate with a known true effect; two with the same effect are still two."""

    effect: float


class World:
    """Plays conditions in a simulated environment and remembers what it was asked for."""

    def __init__(self, seed: int, noise: float = 60.0) -> None:
        self.generator = np.random.default_rng(seed)
        self.noise = noise
        self.asked: list[tuple[list, list[int]]] = []

    def __call__(self, conditions: Sequence, seeds: Sequence[int]) -> Outcomes:
        self.asked.append((list(conditions), list(seeds)))
        effects = np.array([0.0 if one is None else one.effect for one in conditions])
        shape = (len(conditions), len(seeds))
        shared = self.generator.gamma(5.0, 33.0, size=len(seeds))
        own = self.noise * (self.generator.exponential(1.0, size=shape) - 1)
        number = count()
        return Outcomes(
            tuple("baseline" if one is None else f"candidate {next(number)}" for one in conditions),
            tuple(seeds),
            effects[:, None] + shared + own,
            np.ones(shape, dtype=np.int64),
            tuple(("survived",) * len(seeds) for _ in conditions),
        )


def search(world: World, effects: Sequence[float], seed: int = 0, **choices) -> Nudge:
    candidates = [Planted(effect) for effect in effects]
    choices = {"search_seeds": SEARCH, "confirm_seeds": CONFIRM} | choices
    return search_and_confirm(world, candidates, generator=np.random.default_rng(seed), **choices)


@pytest.fixture(scope="module")
def noise_runs() -> list[Nudge]:
    return [search(World(run), [0.0] * 32, seed=run) for run in range(RUNS)]


def test_pure_noise_is_found_in_at_most_five_percent_of_runs(noise_runs: list[Nudge]) -> None:
    # Two-sided p and only gains count, so the rate is near 2.5 %: more than 10 of 200 have a
    # binomial chance of 1.3 %. At a true rate of 10 %, 10 or fewer would have one of 0.8 %.
    finds = sum(nudge.found for nudge in noise_runs)
    assert finds <= 0.05 * RUNS


def test_the_noise_would_have_fooled_an_uncorrected_search(noise_runs: list[Nudge]) -> None:
    fooled = sum(
        any(one.search.p <= 0.05 and one.search.difference > 0 for one in nudge.candidates)
        for nudge in noise_runs
    )
    assert fooled >= 0.25 * RUNS


def test_luck_of_pure_noise_is_honest(noise_runs: list[Nudge]) -> None:
    # A share called luck must be one: at most a tenth of noise searches may claim "10 % or less".
    for share in (0.05, 0.1, 0.3):
        lucky = sum(nudge.luck <= share for nudge in noise_runs)
        assert lucky <= RUNS * share + 3 * np.sqrt(RUNS * share * (1 - share))
    assert 0.4 < np.mean([nudge.luck for nudge in noise_runs]) < 0.75


def test_planted_benefit_is_found_and_nothing_else_is() -> None:
    runs = 60
    effects = [0.0] * 20 + [80.0] + [-80.0] * 11
    nudges = [search(World(run), effects, seed=run) for run in range(runs)]
    truths = [{trial.candidate.effect for trial in nudge.confirmed} for nudge in nudges]
    # The smallest corrected effect is 80 with a standard error of 13: a power above 0.99.
    assert sum(80.0 in truth for truth in truths) >= runs - 3
    assert sum(bool(truth - {80.0}) for truth in truths) <= 0.05 * runs + 3 * np.sqrt(0.0475 * runs)
    assert all(nudge.luck < 0.05 for nudge in nudges)


def test_fresh_interval_covers_the_truth_where_the_search_interval_does_not() -> None:
    nudges = [search(World(run), [10.0] * 32, seed=run) for run in range(RUNS)]
    first = [nudge.trials[0] for nudge in nudges]
    fresh = sum(trial.fresh.low <= 10 <= trial.fresh.high for trial in first)
    searched = sum(trial.search.low <= 10 <= trial.search.high for trial in first)
    assert fresh / RUNS >= 0.95 - 3 * np.sqrt(0.0475 / RUNS)
    assert searched / RUNS < 0.8  # the winner's curse
    assert np.mean([trial.fresh.difference for trial in first]) == pytest.approx(10, abs=3)


def test_search_and_confirmation_play_what_they_were_given() -> None:
    world = World(0)
    nudge = search(world, [30.0, -90.0, 40.0, 35.0], keep=2)
    (searched, search_seeds), (confirmed, confirm_seeds) = world.asked
    assert (search_seeds, confirm_seeds) == (list(SEARCH), list(CONFIRM))
    assert searched[0] is confirmed[0] is None
    assert confirmed[1:] == [one.candidate for one in nudge.candidates[:2]]
    lows = [one.search.low for one in nudge.candidates]
    assert lows == sorted(lows, reverse=True)
    assert [one.rank for one in nudge.candidates] == [1, 2, 3, 4]


def test_a_confirmed_nudge_has_an_interval_above_zero() -> None:
    nudge = search(World(1), [60.0, 90.0, 0.0])
    assert nudge.found
    for trial in nudge.confirmed:
        assert trial.fresh.low > 0
        assert trial.fresh.p <= trial.p_corrected <= nudge.level
    lows = [trial.fresh.low for trial in nudge.confirmed]
    assert lows == sorted(lows, reverse=True)


def test_random_directions_tell_a_feature_from_a_push() -> None:
    pushes = [Planted(0.0) for _ in range(40)]
    world = World(2)
    special = search(world, [90.0, 85.0], controls=lambda _: pushes)
    assert len(world.asked[1][0]) == 1 + 2 + 40  # shared controls are played once
    assert "0 of 40 random directions of equal norm do as well" in special.verdict()
    assert "more than a push of that size" in special.verdict()

    strong = [Planted(90.0) for _ in range(40)]
    usual = search(World(3), [90.0], controls=lambda _: strong)
    assert usual.found
    assert usual.confirmed[0].random.contains(usual.confirmed[0].fresh.difference)
    assert "so does a random push of that size" in usual.verdict()

    few = search(World(4), [90.0], controls=lambda _: pushes[:5])
    assert "too few directions to say" in few.verdict()


def test_verdict_without_a_find_says_how_luck_would_look() -> None:
    nudge = search(World(5), [0.0] * 32)
    best, trial = nudge.candidates[0], nudge.trials[0]
    assert not nudge.found
    verdict = nudge.verdict()
    assert verdict.startswith("No nudge holds. 32 settings were tried on 40 search seeds;")
    assert (
        f"the best there by its lower bound, {best.name}, changed the mean return by {best.search}"
        in verdict
    )
    assert f"at least as sure in {100 * nudge.luck:.0f} % of searches" in verdict
    assert f"On 40 fresh seeds {best.name} changed it by {trial.fresh}" in verdict
    assert f"after Holm over {len(nudge.trials)}" in verdict


def test_verdict_of_a_find_names_seeds_correction_and_luck() -> None:
    nudge = search(World(6), [0.0, 100.0, 0.0])
    best = nudge.confirmed[0]
    verdict = nudge.verdict()
    assert verdict.startswith(f"A nudge holds: {best.name} changes the mean return by {best.fresh}")
    assert "on 40 fresh seeds" in verdict
    assert "number 1 of the search" in verdict
    assert "fewer than 0.1 % of searches" in verdict
    assert "were not played beside it" in verdict


def test_when_nothing_looks_better_no_fresh_seeds_are_spent() -> None:
    world = World(7)
    nudge = search(world, [-100.0, -120.0])
    assert not nudge.found
    assert len(world.asked) == 1
    assert nudge.confirm_baseline is None
    assert "no fresh seeds were spent" in nudge.verdict()
    assert str(nudge) == nudge.verdict()


def test_a_steady_setting_that_looks_no_better_does_not_take_a_fresh_place() -> None:
    # The lower bound ranks the setting without effect or noise first; only the other looks better.
    generator = np.random.default_rng(11)

    def evaluate(conditions: Sequence, seeds: Sequence[int]) -> Outcomes:
        noise = generator.normal(10.0, 100.0, size=len(seeds))
        rows = [np.zeros(len(seeds)) if one in (None, "steady") else noise for one in conditions]
        names = tuple(str(one) for one in conditions)
        ones = np.ones((len(rows), len(seeds)), dtype=np.int64)
        endings = tuple(("survived",) * len(seeds) for _ in rows)
        return Outcomes(names, tuple(seeds), np.stack(rows), ones, endings)

    nudge = search_and_confirm(
        evaluate,
        ["steady", "noisy"],
        search_seeds=SEARCH,
        confirm_seeds=CONFIRM,
        generator=np.random.default_rng(0),
        keep=1,
    )
    assert [one.name for one in nudge.candidates] == ["steady", "noisy"]
    assert [one.name for one in nudge.trials] == ["noisy"]
    assert "noisy (number 2 of the search)" in nudge.verdict()


def test_harm_is_never_a_nudge() -> None:
    flips = iter([[50.0], [-500.0]])

    def evaluate(conditions: Sequence, seeds: Sequence[int]) -> Outcomes:
        effect = next(flips)[0]
        return World(8)([None, *(Planted(effect) for _ in conditions[1:])], seeds)

    nudge = search(evaluate, [0.0])
    assert nudge.trials[0].fresh.p < 1e-6
    assert not nudge.found


def test_luck_grows_with_the_number_of_settings() -> None:
    generator = np.random.default_rng(9)
    noise = generator.normal(0, 100, size=(64, 50))
    noise[0] += 20.0 - noise[0].mean()
    lucks = [luck_of_best(noise[:tried], 0, np.random.default_rng(0)) for tried in (1, 8, 64)]
    assert lucks == sorted(lucks)
    # One setting alone is the one-sided test; its share of 2,000 has a standard error of 0.006.
    alone = paired_difference(noise[0], np.zeros(50)).p / 2
    assert lucks[0] == pytest.approx(alone, abs=0.02)
    assert lucks[2] > 0.9


@pytest.mark.filterwarnings("error")
def test_luck_of_differences_without_spread_is_none_or_certain() -> None:
    flat = np.zeros((3, 20))
    assert luck_of_best(flat, 0, np.random.default_rng(0)) == 1.0
    flat[1] = 4.0
    assert luck_of_best(flat, 1, np.random.default_rng(0)) < 0.001


def test_a_verdict_prints_as_text_and_in_a_notebook() -> None:
    nudge = search(World(10), [100.0, 0.0], controls=lambda _: [Planted(0.0), Planted(0.0)])
    assert nudge.verdict() in str(nudge)
    assert "random as good" in str(nudge)
    assert "0 of 2" in str(nudge)
    assert "<table>" in nudge._repr_html_()


@pytest.mark.parametrize(
    ("choices", "error", "message"),
    [
        ({"confirm_seeds": range(30, 60)}, InvalidInput, r"10 seeds are in both.*first: 30"),
        ({"confirm_seeds": [100]}, NotEnoughData, "2 confirm seeds, but got 1"),
        ({"search_seeds": []}, NotEnoughData, "2 search seeds, but got 0"),
        ({"search_seeds": [1, 2, 2]}, InvalidInput, "search seed may occur once"),
        ({"keep": 0}, InvalidInput, "keep=0"),
        ({"level": 5.0}, InvalidInput, r"got 5\.0"),
    ],
)
def test_a_plan_that_cannot_mean_anything_is_refused_before_it_runs(
    choices: dict, error: type[Exception], message: str
) -> None:
    world = World(0)
    with pytest.raises(error, match=message):
        search(world, [0.0, 0.0], **choices)
    assert not world.asked


def test_bad_candidates_and_controls_are_refused() -> None:
    generator, seeds = np.random.default_rng(0), {"search_seeds": SEARCH, "confirm_seeds": CONFIRM}
    with pytest.raises(InvalidInput, match="no candidate"):
        search_and_confirm(World(0), [], generator=generator, **seeds)
    with pytest.raises(InvalidInput, match="unedited agent"):
        search_and_confirm(World(0), [None], generator=generator, **seeds)
    with pytest.raises(NotEnoughData, match="1 random directions for 'candidate 0'"):
        search(World(0), [100.0], controls=lambda _: [Planted(0.0)])


def test_outcomes_with_other_seeds_are_not_paired() -> None:
    def shuffled(conditions: Sequence, seeds: Sequence[int]) -> Outcomes:
        return World(0)(conditions, list(seeds)[::-1])

    with pytest.raises(InvalidInput, match="nothing is paired"):
        search(shuffled, [0.0])
