"""Actions alike: choices are counted, quantities are measured, and neither stands for the other."""

import numpy as np
import pytest

from policyscope.rollouts.agreement import action_distance, same_action

CHOICES = np.array([[0, 1], [2, 3], [4, 5]])
QUANTITIES = np.array([[0.0, 7.0], [2.0, 7.0], [4.0, 7.0]], np.float32)


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.bool_])
def test_choices_agree_where_all_parts_do(kind: type) -> None:
    plain = (CHOICES > 2).astype(kind)
    edited = plain.copy()
    edited[1, 0] = 1
    np.testing.assert_array_equal(same_action(plain, edited), [1.0, 0.0, 1.0])
    assert np.isnan(action_distance(plain, edited))


def test_quantities_are_measured_in_their_standard_deviations() -> None:
    assert np.isnan(same_action(QUANTITIES, QUANTITIES)).all()
    assert action_distance(QUANTITIES, QUANTITIES) == 0
    moved = QUANTITIES + np.float32([1.0, 100.0])  # what never varies has no scale
    np.testing.assert_allclose(action_distance(QUANTITIES, moved), 1 / QUANTITIES[:, 0].std())


def test_a_distance_needs_actions_that_vary() -> None:
    assert np.isnan(action_distance(np.ones(3), np.zeros(3)))
