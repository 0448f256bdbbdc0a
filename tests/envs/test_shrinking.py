"""Averaged areas: the bytes that summing up in OpenCV's order gives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policyscope.envs.shrinking import Shrinking, area_weights
from policyscope.errors import InvalidInput


@given(st.integers(1, 60), st.integers(1, 60))
def test_weights_of_an_area_sum_to_one(source, target):
    if source < target:
        return
    index, weight = area_weights(source, target)
    np.testing.assert_allclose(weight.sum(axis=0), 1.0, atol=1e-6)
    assert index.min() == 0
    assert index.max() == source - 1


SIZES = [((210, 160), (84, 84)), ((210, 160), (97, 53)), ((210, 160), (1, 1)), ((12, 9), (5, 7))]


@settings(max_examples=20)
@given(
    st.sampled_from(SIZES), st.sampled_from([(), (3,)]), st.integers(1, 10), st.integers(0, 1000)
)
def test_shrinking_is_adding_up_in_opencvs_order(sizes, colours, frames, seed):
    """Of two levels or of all: some averages lie half way between two, where the order decides."""
    source, target = sizes
    generator = np.random.default_rng(seed)
    levels = generator.choice([2, 256])
    shown = generator.integers(0, levels, (frames, *source, *colours), dtype=np.uint8)
    small = Shrinking(source, target)(shown)
    assert small.shape == (frames, *target, *colours)
    np.testing.assert_array_equal(small, added_up(shown, source, target))


def added_up(frames, source, target):
    """Along each line first, then over the lines, every sum and product rounded."""
    values = frames.astype(np.float32)
    for axis in (2, 1):
        index, weight = area_weights(source[axis - 1], target[axis - 1])
        broadcast = [1] * values.ndim
        broadcast[axis] = -1
        total = 0
        for pixels, shares in zip(index, weight, strict=True):
            total = total + np.take(values, pixels, axis=axis) * shares.reshape(broadcast)
        values = total
    return np.rint(values).astype(np.uint8)


def test_shrinking_keeps_an_even_frame_and_refuses_to_grow():
    frame = np.full((1, 210, 160), 77, np.uint8)
    assert set(np.unique(Shrinking((210, 160), (84, 84))(frame))) == {77}
    with pytest.raises(InvalidInput, match="shrunk, not grown to 300×84"):
        Shrinking((210, 160), (300, 84))
