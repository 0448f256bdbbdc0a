"""Random numbers that have an address instead of a place in a stream.

The numbers of one step of one episode depend only on (run seed, episode seed, step, how often the
agent drew before in that step), never on how many rows act beside it, in which order, or on which
machine. Two conditions that play the same
episode seed therefore meet the same action noise, which is what makes their comparison paired.

Generator: Philox4x32-10, counter-based. Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as
easy as 1, 2, 3", SC'11, section 3.3 and table 2.
"""

import sys
from collections.abc import Callable, Iterable
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, UInt32
from torch import Tensor

from policyscope.errors import InvalidInput

MULTIPLIER = np.array([[0xD2511F53], [0xCD9E8D57]], np.uint64)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
LOW = np.uint64(0xFFFFFFFF)
HIGH = np.uint64(32)
DRAW_BITS = 16
"""The counter's first word: the number of the draw in its step, above the number of the call."""
LOW_FIRST = int(sys.byteorder == "big")


@runtime_checkable
class Noise(Protocol):
    """Where an agent that samples its actions takes its randomness from."""

    def uniform(self, count: int) -> Float[Tensor, "row count"]:
        """`count` numbers in (0, 1) for every row at the present step; each call gives others."""
        ...


def philox(
    counter: UInt32[np.ndarray, "4 ..."], key: tuple[int, int]
) -> UInt32[np.ndarray, "4 ..."]:
    """Four random 32-bit words for every four-word counter."""
    words = counter.reshape(4, -1)
    multiplied, other = words[[0, 2]], words[[3, 1]]
    for key_of_round in round_keys(key):
        product = np.multiply(multiplied, MULTIPLIER, dtype=np.uint64)
        halves = product.view(np.uint32).reshape(*product.shape, 2)
        high, low = halves[..., 1 - LOW_FIRST], halves[..., LOW_FIRST]
        # The round swaps the two products: word 0 comes from the second, word 2 from the first.
        multiplied = (high ^ other ^ key_of_round)[::-1]
        other = low
    return np.stack([multiplied[0], other[1], multiplied[1], other[0]]).reshape(counter.shape)


def round_keys(key: tuple[int, int]) -> UInt32[np.ndarray, "round word 1"]:
    """What each round mixes into words 3 and 1: the key, moved on by Weyl's constants."""
    number = np.arange(ROUNDS, dtype=np.uint64)[:, None]
    keys = np.array(key[::-1], np.uint64) + number * np.array(WEYL[::-1], np.uint64)
    return keys.astype(np.uint32)[..., None]


def uniform_at(
    seed: int,
    episode_seed: Int[np.ndarray, "..."],
    step: Int[np.ndarray, "..."],
    count: int,
    draw: int = 0,
) -> Float[np.ndarray, "... count"]:
    """`count` numbers in (0, 1) for every (episode seed, step), which broadcast; float32.

    Each `draw` of a step has numbers of its own.
    """
    lane = np.broadcast_shapes(episode_seed.shape, step.shape)
    calls = -(-count // 4)
    most = 1 << DRAW_BITS
    if calls > most or draw >= most:
        raise InvalidInput(
            f"Draw {draw + 1} of a step asks for {count} random numbers. "
            f"An agent may draw {most} times per step, and {4 * most} numbers each time."
        )
    words = np.empty((4, calls, *lane), np.uint32)
    episode = np.broadcast_to(episode_seed, lane).astype(np.uint64)
    counter = np.empty((4, *lane), np.uint32)
    counter[1] = np.broadcast_to(step, lane)
    counter[2] = episode & LOW
    counter[3] = episode >> HIGH
    key = (seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF)
    for call in range(calls):
        counter[0] = draw << DRAW_BITS | call
        words[:, call] = philox(counter, key)
    flat = to_unit(words).swapaxes(0, 1).reshape(calls * 4, *lane)[:count]
    return np.ascontiguousarray(np.moveaxis(flat, 0, -1))


def to_unit(words: UInt32[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Random words as numbers strictly between 0 and 1, float32, so that log is always finite."""
    # 23 bits and a half fill the 24 of a float32: no sum is rounded, and none reaches 1.
    return ((words >> np.uint32(9)).astype(np.float32) + np.float32(0.5)) * np.float32(2**-23)


Shape = Callable[[Float[Tensor, "..."]], Float[Tensor, "..."]]
"""Gives uniform numbers another distribution, each for itself."""


def as_uniform(uniform: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The numbers as they are."""
    return uniform


def as_gumbel(uniform: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Numbers of the standard Gumbel distribution: the largest of logits plus these is a sample."""
    return -torch.log(-torch.log(uniform))


def as_normal(uniform: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Numbers of the standard normal distribution."""
    return torch.special.ndtri(uniform)


def drawn(noise: Noise, count: int, shape: Shape) -> Float[Tensor, "row count"]:
    """`count` numbers for every row in that distribution: the next draw of `noise`."""
    if isinstance(noise, AddressedNoise):
        return noise.draw(count, shape)
    return shape(noise.uniform(count))


Draw = tuple[int, int, Shape]
"""Which draw of its step, how many numbers it asks for, and in which distribution."""


class AddressedNoise:
    """The noise of B rows, each at its own step of its own episode.

    Numbers are made ahead in blocks of `ahead` steps, because the cost of a vectorised generator
    is its fixed part. When a row begins another episode only its own column changes; the first
    `ahead` steps of episodes that begin soon are made together, for the same reason.
    """

    def __init__(self, seed: int, rows: int, ahead: int = 64) -> None:
        self.seed = seed
        self.ahead = ahead
        self.tick = 0
        self._episode_seed = np.zeros(rows, np.int64)
        self._step = np.zeros(rows, np.int64)
        self._draw = 0
        self._blocks: dict[Draw, np.ndarray] = {}
        self._tensors: dict[Draw, Tensor] = {}
        self._expected: dict[int, int] = {}
        self._beginnings: dict[Draw, np.ndarray] = {}

    def begin(
        self,
        rows: Int[np.ndarray, " begun"],
        episode_seeds: Int[np.ndarray, " begun"],
        soon: Callable[[], Iterable[int]] = tuple,
    ) -> None:
        """Puts `rows` at step 0 of the episodes with these seeds, from the next `uniform` on.

        `soon` tells which seeds will probably begin next; it is asked only now and then.
        """
        self._episode_seed[rows] = episode_seeds
        self._step[rows] = 0
        if not self._blocks or not len(rows):
            return
        seeds = episode_seeds.tolist()
        if not self._expected.keys() >= set(seeds):
            self._expect([*seeds, *soon()])
        which = [self._expected[seed] for seed in seeds]
        for draw, block in self._blocks.items():
            block[self.tick :, rows] = self._beginnings[draw][: self.ahead - self.tick, which]

    def _expect(self, seeds: Iterable[int]) -> None:
        self._expected = {seed: index for index, seed in enumerate(dict.fromkeys(seeds))}
        expected, steps = np.array(list(self._expected)), np.arange(self.ahead)[:, None]
        for draw in self._blocks:
            self._beginnings[draw] = self._numbers(draw, expected, steps)

    def advance(self) -> None:
        """Goes to the next step in every row."""
        self.rewind()
        self._step += 1
        self.tick += 1
        if self.tick == self.ahead:
            self.tick = 0
            for draw in self._blocks:
                self._fill(draw)

    def rewind(self) -> None:
        """Begins the draws of this step again, so that acting once more meets the same numbers."""
        self._draw = 0

    def keep(self, rows: Int[np.ndarray, " kept"]) -> None:
        """Forgets all rows but these."""
        self._episode_seed, self._step = self._episode_seed[rows], self._step[rows]
        for draw, block in self._blocks.items():
            self._blocks[draw] = np.ascontiguousarray(block[:, rows])
            self._tensors[draw] = torch.from_numpy(self._blocks[draw])

    def uniform(self, count: int) -> Float[Tensor, "row count"]:
        """`count` numbers in (0, 1) for every row at its present step; each call gives others."""
        return self.draw(count, as_uniform)

    def draw(self, count: int, shape: Shape) -> Float[Tensor, "row count"]:
        """As `uniform`, in another distribution, which is made ahead too."""
        draw = (self._draw, count, shape)
        self._draw += 1
        if draw not in self._blocks:
            room = (self.ahead, len(self._step), count)
            self._blocks[draw] = np.empty(room, np.float32)
            self._tensors[draw] = torch.from_numpy(self._blocks[draw])
            self._fill(draw)
            self._expected.clear()
        return self._tensors[draw][self.tick]

    def _fill(self, draw: Draw) -> None:
        steps = self._step + np.arange(self.ahead - self.tick)[:, None]
        self._blocks[draw][self.tick :] = self._numbers(draw, self._episode_seed, steps)

    def _numbers(
        self, draw: Draw, episode_seed: Int[np.ndarray, "..."], step: Int[np.ndarray, "..."]
    ) -> Float[np.ndarray, "... count"]:
        number, count, shape = draw
        uniform = uniform_at(self.seed, episode_seed, step, count, number)
        return shape(torch.from_numpy(uniform)).numpy()
