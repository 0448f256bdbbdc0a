"""The public contract of a fold: any split of the data merges to the same result.

Subclass `FoldLaws`, say how the fold is made and what a batch looks like, and pytest does the rest:

    class TestMean(FoldLaws):
        def make(self): return Mean()
        def batch(self, generator, steps): return (generator.normal(size=(steps, 3)),)
"""

from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policyscope.fold import Fold

# The laws are inherited, so that hypothesis sees one test run by several classes.
INHERITED = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow],
)


class FoldLaws:
    """What every fold must satisfy, as pytest tests to inherit."""

    steps = 60
    relative_tolerance = 1e-7
    absolute_tolerance = 1e-9

    def make(self) -> Fold:
        """A fresh fold, as the caller would configure it."""
        raise NotImplementedError

    def batch(self, generator: np.random.Generator, steps: int) -> tuple[Any, ...]:
        """Arguments of `update`: arrays sharing their leading axis of `steps` steps."""
        raise NotImplementedError

    @INHERITED
    @given(seed=st.integers(0, 2**32 - 1), parts=st.integers(1, 5))
    def test_any_split_merges_to_the_same_result(self, seed: int, parts: int) -> None:
        """However the data are split, folds of the parts merge to the fold of the whole."""
        generator = np.random.default_rng(seed)
        data = self.batch(generator, self.steps)
        part = generator.integers(parts, size=self.steps)
        total = self.make()
        for number in generator.permutation(parts):
            total.merge(self._fold(*(array[part == number] for array in data)))
        self._check_same(total, self._fold(*data))

    @INHERITED
    @given(seed=st.integers(0, 2**32 - 1), cut=st.integers(0, 60))
    def test_batches_of_any_size_give_the_same_result(self, seed: int, cut: int) -> None:
        """Two updates give what one gives."""
        data = self.batch(np.random.default_rng(seed), self.steps)
        fold = self._fold(*(array[:cut] for array in data))
        fold.update(*(array[cut:] for array in data))
        self._check_same(fold, self._fold(*data))

    def test_an_empty_fold_changes_nothing(self) -> None:
        """An empty fold changes nothing."""
        data = self.batch(np.random.default_rng(0), self.steps)
        before, after = self.make(), self._fold(*data)
        before.merge(self._fold(*data))
        after.merge(self.make())
        self._check_same(before, self._fold(*data))
        self._check_same(after, self._fold(*data))

    def test_merging_leaves_the_other_as_it_was(self) -> None:
        """Merging leaves the other as it was."""
        generator = np.random.default_rng(0)
        ours, theirs = self.batch(generator, self.steps), self.batch(generator, self.steps)
        target, other = self.make(), self._fold(*theirs)
        target.merge(other)
        target.update(*ours)
        target.merge(self._fold(*ours))
        self._check_same(other, self._fold(*theirs))

    def _fold(self, *data: Any) -> Fold:
        fold = self.make()
        fold.update(*data)
        return fold

    def _check_same(self, fold: Fold, expected: Fold) -> None:
        assert_same(
            fold.result(), expected.result(), self.relative_tolerance, self.absolute_tolerance
        )


def assert_same(
    given: Any, expected: Any, relative: float = 1e-7, absolute: float = 1e-9, path: str = "result"
) -> None:
    """Fails, naming the field, unless two results agree up to rounding; NaN equals NaN."""
    if is_dataclass(expected):
        for part in fields(expected):
            ours, theirs = getattr(given, part.name), getattr(expected, part.name)
            assert_same(ours, theirs, relative, absolute, f"{path}.{part.name}")
    elif isinstance(expected, np.ndarray | float):
        np.testing.assert_allclose(
            given, expected, rtol=relative, atol=absolute, equal_nan=True, err_msg=path
        )
    elif isinstance(expected, tuple | list):
        assert len(given) == len(expected), path
        for i, (ours, theirs) in enumerate(zip(given, expected, strict=True)):
            assert_same(ours, theirs, relative, absolute, f"{path}[{i}]")
    else:
        assert given == expected, f"{path}: {given!r} is not {expected!r}"
