"""Duplicates, splits and the choice of a width, on planted families."""

import numpy as np
import pytest

from policyscope.errors import InvalidInput, NotEnoughData
from policyscope.scores.redundancy import (
    CodeCorrelation,
    Member,
    compare_sizes,
    count_distinct,
    descend,
    duplicates,
)
from policyscope.testing.folds import FoldLaws


class TestCodeCorrelationLaws(FoldLaws):
    def make(self):
        return CodeCorrelation()

    def batch(self, generator, steps):
        codes = np.maximum(generator.normal(size=(steps, 2)), 0)
        return codes, np.maximum(codes[:, :1] + generator.normal(size=(steps, 3)), 0)


def correlation(codes, others):
    fold = CodeCorrelation()
    fold.update(codes, others)
    return fold.result()


def planted_codes():
    return np.maximum(np.random.default_rng(0).normal(size=(2000, 3)), 0)


def test_it_agrees_with_numpy_and_is_zero_for_the_dead():
    codes = planted_codes()
    codes[:, 2] = 0
    found = correlation(codes, codes)
    np.testing.assert_allclose(found[:2, :2], np.corrcoef(codes[:, :2].T), atol=1e-12)
    assert (found[2] == 0).all()


def test_a_planted_duplicate_is_found_and_counted_once():
    codes = planted_codes()
    codes = np.concatenate([codes, 2 * codes[:, 1:2] + 0.01], axis=1)
    directions = np.eye(4)[[0, 1, 2, 1]]
    same = correlation(codes, codes)
    (pair,) = duplicates(same, directions)
    assert (pair.first, pair.second) == (1, 3)
    assert pair.r == pytest.approx(1.0)
    assert pair.cosine == 1.0
    assert count_distinct(same, np.ones(4, bool)) == 3
    assert count_distinct(same, np.array([True, False, True, True])) == 3
    assert count_distinct(same, np.zeros(4, bool)) == 0


def test_kept_split_and_lost_features_are_told_apart():
    codes = planted_codes()
    kept, parent = codes[:, :1], codes[:, 1:2]
    weak, strong = np.where(parent < 1, parent, 0), np.where(parent >= 1, parent, 0)
    wide = np.concatenate([strong, kept, weak], axis=1)
    axes = np.eye(3)
    fates = descend(correlation(codes, wide), axes, axes[[1, 0, 1]])
    assert [descent.fate for descent in fates] == ["kept", "split", "lost"]
    assert fates[0].children == (1,)
    assert fates[1].children == (0, 2)
    assert fates[2].children == ()


def member(width, seed, unexplained, alive=None):
    directions = np.random.default_rng(width).normal(size=(width, 32))
    living = np.arange(width) < (width if alive is None else alive)
    return Member(width, seed, unexplained, np.eye(width), directions, living)


def test_the_smallest_width_that_does_as_well_is_advised():
    family = [member(2, s, 0.4 + 0.01 * s) for s in range(3)]
    family += [member(4, s, 0.08 + 0.01 * s) for s in range(3)]
    family += [member(8, s, 0.06 + 0.01 * s, alive=5) for s in range(3)]
    found = compare_sizes(family)
    assert found.advised == 4
    assert found.criterion.startswith("the smallest width whose median unexplained")
    assert found.reason == (
        "Use 4: median unexplained 0.090, against 0.070 with 8; "
        "4 of 4 features alive and distinct; the smallest within 0.05 of the best, over 3 seeds."
    )
    wide = found.rows[2]
    assert (wide.width, wide.seeds, wide.alive, wide.distinct) == (8, 3, 5.0, 5.0)
    assert (wide.unexplained_best, wide.unexplained_worst) == (0.06, 0.08)
    assert wide.stability == pytest.approx(1.0)
    assert "Use 4" in str(found)


def test_nothing_is_advised_without_reason():
    single = compare_sizes([member(2, 0, 0.1), member(4, 0, 0.1)])
    assert single.advised is None
    assert "width 2 has 1 of the 3 seeds" in single.reason
    assert np.isnan(single.rows[0].stability)
    alone = compare_sizes([member(2, s, 0.1) for s in range(3)])
    assert "is the only one" in alone.reason
    collapsed = compare_sizes([member(w, s, 1.0, alive=0) for w in (2, 4) for s in range(3)])
    assert collapsed.advised is None
    assert "still leaves 1.00 unexplained" in collapsed.reason
    with pytest.raises(NotEnoughData, match="no dictionaries"):
        compare_sizes([])


def test_other_choices_of_one_width_are_no_further_seeds():
    """Penalties mixed into a width would make its median that of neither."""
    mixed = [member(4, s, loss) for loss in (0.1, 0.9) for s in range(3)]
    with pytest.raises(InvalidInput, match="Seed 0 of width 4 occurs 2 times"):
        compare_sizes([*mixed, *(member(2, s, 0.2) for s in range(3))])


def test_members_must_fit_their_width():
    wrong = Member(3, 0, 0.1, np.eye(2), np.eye(2), np.ones(2, bool))
    with pytest.raises(InvalidInput, match="Seed 0 of width 3 has 2 directions"):
        compare_sizes([wrong])
