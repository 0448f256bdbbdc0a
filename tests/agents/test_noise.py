"""Addressed noise: known answers, uniformity, and independence of everything but the address."""

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from policyscope.agents.noise import (
    AddressedNoise,
    Noise,
    as_gumbel,
    as_normal,
    drawn,
    philox,
    to_unit,
    uniform_at,
)
from policyscope.errors import InvalidInput

COUNT = 3
seeds = st.integers(0, 2**40)

# Random123, file kat_vectors: philox4x32, 10 rounds.
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
]  # fmt: skip


def words(text):
    return [int(word, 16) for word in text.split()]


def one(seed, episode, step, count=COUNT, draw=0):
    """The numbers of one address, made alone."""
    return uniform_at(seed, np.array([episode]), np.array([step]), count, draw)[0]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_philox_gives_the_known_answers(counter, key, answer):
    k0, k1 = words(key)
    assert philox(np.array(words(counter), np.uint32), (k0, k1)).tolist() == words(answer)


def test_philox_of_many_counters_is_philox_of_each():
    counters = np.array([words(counter) for counter, _, _ in KNOWN_ANSWERS], np.uint32).T
    together = philox(counters, (7, 8))
    for lane in range(counters.shape[1]):
        np.testing.assert_array_equal(together[:, lane], philox(counters[:, lane], (7, 8)))


def test_the_address_is_laid_out_as_documented():
    seed, episode, step = 2**33 + 5, 2**34 + 9, 77
    given = philox(np.array([0, step, 9, 4], np.uint32), (5, 2))
    np.testing.assert_array_equal(one(seed, episode, step, 4), to_unit(given))


def test_the_numbers_lie_strictly_between_zero_and_one():
    ends = to_unit(np.array([0, 2**32 - 1], np.uint32))
    assert ends.dtype == np.float32
    assert ends[0] == 2**-24
    assert ends[1] == 1 - 2**-24


def test_the_numbers_are_uniform_and_uncorrelated():
    episodes, steps = 400, 50
    numbers = uniform_at(11, np.arange(episodes), np.arange(steps)[:, None], 4)
    assert numbers.shape == (steps, episodes, 4)
    flat = np.sort(numbers.ravel().astype(np.float64))
    n = len(flat)
    # Kolmogorov–Smirnov: 1.95 is exceeded once in a thousand samples.
    assert np.abs(flat - (np.arange(n) + 0.5) / n).max() * n**0.5 < 1.95
    centred = numbers.astype(np.float64) - 0.5
    for axis in range(3):
        ahead, behind = np.delete(centred, 0, axis), np.delete(centred, -1, axis)
        correlation = (ahead * behind).mean() * 12
        assert abs(correlation) < 4 / ahead.size**0.5, f"neighbours along axis {axis}"


@given(seed=seeds, episode=seeds, step=st.integers(0, 10_000))
def test_another_address_gives_other_numbers(seed, episode, step):
    here = one(seed, episode, step)
    for other in ((seed + 1, episode, step), (seed, episode + 1, step), (seed, episode, step + 1)):
        assert not np.array_equal(here, one(*other))


@given(count=st.integers(1, 9))
def test_fewer_numbers_are_the_first_of_more(count):
    np.testing.assert_array_equal(one(1, 2, 3, count), one(1, 2, 3, 12)[:count])


@given(
    seed=seeds,
    ahead=st.integers(1, 9),
    episodes=st.lists(seeds, min_size=1, max_size=5),
    data=st.data(),
)
def test_noise_depends_on_nothing_but_its_address(seed, ahead, episodes, data):
    """Whatever was begun, expected, kept and asked for before, and made however far ahead."""
    playing = np.array(episodes, np.int64)
    step = np.zeros(len(playing), np.int64)
    noise = AddressedNoise(seed, len(playing), ahead)
    for row in data.draw(st.permutations(range(len(playing)))):
        noise.begin(np.array([row]), playing[[row]])
    for _ in range(data.draw(st.integers(1, 12))):
        happens = data.draw(st.sampled_from(["nothing", "nothing", "begin", "keep"]))
        if happens == "begin":
            rows = np.flatnonzero(data.draw(st.lists(
                st.booleans(), min_size=len(playing), max_size=len(playing)
            )))  # fmt: skip
            playing[rows] = data.draw(seeds)
            step[rows] = 0
            soon = data.draw(st.lists(seeds | st.sampled_from(episodes), max_size=3))
            noise.begin(rows, playing[rows], lambda soon=soon: soon)
        if happens == "keep" and len(playing) > 1:
            rows = np.arange(1, len(playing))
            playing, step = playing[rows], step[rows]
            noise.keep(rows)
        counts = data.draw(st.lists(st.sampled_from([1, 2, 5]), max_size=3))
        for _ in range(data.draw(st.integers(1, 2))):
            noise.rewind()
            for draw, count in enumerate(counts):
                expected = [one(seed, *at, count, draw) for at in zip(playing, step, strict=True)]
                np.testing.assert_array_equal(noise.uniform(count).numpy(), np.stack(expected))
        noise.advance()
        step += 1


def test_each_draw_of_a_step_is_its_own():
    noise = AddressedNoise(0, rows=2)
    first, second, third = (noise.uniform(count).clone() for count in (2, 2, 3))
    assert not np.isin(second, first).any()
    assert not np.isin(third, torch.cat([first, second])).any()
    noise.rewind()
    assert torch.equal(noise.uniform(2), first)
    noise.advance()
    other = noise.uniform(2).clone()
    noise.rewind()
    assert torch.equal(noise.uniform(2), other)
    assert not np.isin(other, torch.cat([first, second])).any()


def test_draws_of_a_step_are_uncorrelated():
    """Independent uniforms: the correlation of 40,000 pairs has a standard error of 1/200."""
    draws = [uniform_at(11, np.arange(10_000), np.array(0), 4, draw) for draw in (0, 1)]
    correlation = np.corrcoef(*(numbers.ravel() for numbers in draws))[0, 1]
    assert abs(correlation) < 4 / 200


def test_one_draw_per_step_gives_what_it_always_gave():
    """Recordings of agents that draw once per step must replay bit for bit."""
    noise, digest = AddressedNoise(7, rows=3, ahead=4), hashlib.sha256()
    noise.begin(np.arange(3), np.array([5, 2**33, 12]))
    for step in range(10):
        if step == 6:
            noise.begin(np.array([1]), np.array([99]), lambda: (100, 101))
        digest.update(noise.uniform(5).numpy().astype("<f4").tobytes())
        noise.advance()
    assert digest.hexdigest() == "a2f4b470287cac4c83146883b70f1325b7ce669d28d790cfa2d90f370871da00"


@pytest.mark.parametrize(("count", "draw"), [(2**18 + 1, 0), (1, 2**16)])
def test_draws_that_would_meet_others_are_refused(count, draw):
    with pytest.raises(InvalidInput, match="An agent may draw 65536 times per step"):
        one(0, 0, 0, count, draw)


def test_it_is_a_noise():
    assert isinstance(AddressedNoise(0, rows=1), Noise)


@given(
    seed=seeds,
    ahead=st.integers(1, 9),
    count=st.integers(1, 9),
    steps=st.integers(0, 12),
    shape=st.sampled_from([as_gumbel, as_normal]),
)
def test_numbers_made_ahead_in_another_distribution_are_those_made_at_their_step(
    seed, ahead, count, steps, shape
):
    playing = np.array([3, 2**33, 5])
    noise = AddressedNoise(seed, len(playing), ahead)
    noise.begin(np.arange(len(playing)), playing)
    for _ in range(steps):
        drawn(noise, count, shape)
        noise.advance()
    expected = torch.from_numpy(uniform_at(seed, playing, np.full(3, steps), count))
    assert torch.equal(drawn(noise, count, shape), shape(expected))
    noise.rewind()
    assert torch.equal(noise.uniform(count), expected)
