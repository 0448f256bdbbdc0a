"""Random numbers that have an address instead of a place in a stream.

The numbers of one step of one episode depend only on (run seed, episode seed, step), never on how
many rows act beside it, in which order, or on which machine. Two conditions that play the same
episode seed therefore meet the same action noise, which is what makes their comparison paired.

Generator: Philox4x32-10, counter-based. Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as
easy as 1, 2, 3", SC'11, section 3.3 and table 2.
"""

from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, UInt32
from torch import Tensor

MULTIPLIER = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
LOW = np.uint64(0xFFFFFFFF)
HIGH = np.uint64(32)


@runtime_checkable
class Noise(Protocol):
    """Where an agent that samples its actions takes its randomness from."""

    def uniform(self, count: int) -> Float[Tensor, "row count"]:
        """`count` numbers in (0, 1) for every row at the present step."""
        ...


def philox(
    counter: UInt32[np.ndarray, "4 ..."], key: tuple[int, int]
) -> UInt32[np.ndarray, "4 ..."]:
    """Four random 32-bit words for every four-word counter."""
    c0, c1, c2, c3 = counter.astype(np.uint64)
    k0, k1 = key
    for _ in range(ROUNDS):
        p0 = MULTIPLIER[0] * c0
        p1 = MULTIPLIER[1] * c2
        c0, c1, c2, c3 = (
            (p1 >> HIGH) ^ c1 ^ np.uint64(k0),
            p1 & LOW,
            (p0 >> HIGH) ^ c3 ^ np.uint64(k1),
            p0 & LOW,
        )
        k0 = (k0 + WEYL[0]) & 0xFFFFFFFF
        k1 = (k1 + WEYL[1]) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3]).astype(np.uint32)


def uniform_at(
    seed: int,
    episode_seed: Int[np.ndarray, "..."],
    step: Int[np.ndarray, "..."],
    count: int,
) -> Float[np.ndarray, "... count"]:
    """`count` numbers in (0, 1) for every (episode seed, step), which broadcast; float32."""
    lane = np.broadcast_shapes(episode_seed.shape, step.shape)
    calls = -(-count // 4)
    words = np.empty((4, calls, *lane), np.uint32)
    episode = np.broadcast_to(episode_seed, lane).astype(np.uint64)
    counter = np.empty((4, *lane), np.uint32)
    counter[1] = np.broadcast_to(step, lane)
    counter[2] = episode & LOW
    counter[3] = episode >> HIGH
    key = (seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF)
    for call in range(calls):
        counter[0] = call
        words[:, call] = philox(counter, key)
    flat = to_unit(words).swapaxes(0, 1).reshape(calls * 4, *lane)[:count]
    return np.ascontiguousarray(np.moveaxis(flat, 0, -1))


def to_unit(words: UInt32[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Random words as numbers strictly between 0 and 1, float32, so that log is always finite."""
    # 23 bits and a half fill the 24 of a float32: no sum is rounded, and none reaches 1.
    return ((words >> np.uint32(9)).astype(np.float32) + np.float32(0.5)) * np.float32(2**-23)


class AddressedNoise:
    """The noise of B rows, each at its own step of its own episode.

    Numbers are made ahead in blocks of `ahead` steps, because the cost of a vectorised generator
    is its fixed part; when a row begins another episode only its own column is made again.
    """

    def __init__(self, seed: int, rows: int, ahead: int = 64) -> None:
        self.seed = seed
        self.ahead = ahead
        self.tick = 0
        self._episode_seed = np.zeros(rows, np.int64)
        self._step = np.zeros(rows, np.int64)
        self._blocks: dict[int, np.ndarray] = {}
        self._tensors: dict[int, Tensor] = {}

    def begin(
        self, rows: Int[np.ndarray, " begun"], episode_seeds: Int[np.ndarray, " begun"]
    ) -> None:
        """Puts `rows` at step 0 of the episodes with these seeds, from the next `uniform` on."""
        self._episode_seed[rows] = episode_seeds
        self._step[rows] = 0
        for count, block in self._blocks.items():
            left = np.arange(self.ahead - self.tick)[:, None]
            block[self.tick :, rows] = uniform_at(self.seed, self._episode_seed[rows], left, count)

    def advance(self) -> None:
        """Goes to the next step in every row."""
        self._step += 1
        self.tick += 1
        if self.tick == self.ahead:
            self.tick = 0
            for count in self._blocks:
                self._fill(count)

    def keep(self, rows: Int[np.ndarray, " kept"]) -> None:
        """Forgets all rows but these."""
        self._episode_seed, self._step = self._episode_seed[rows], self._step[rows]
        for count, block in self._blocks.items():
            self._blocks[count] = np.ascontiguousarray(block[:, rows])
            self._tensors[count] = torch.from_numpy(self._blocks[count])

    def uniform(self, count: int) -> Float[Tensor, "row count"]:
        """`count` numbers in (0, 1) for every row at its present step."""
        if count not in self._blocks:
            shape = (self.ahead, len(self._step), count)
            self._blocks[count] = np.empty(shape, np.float32)
            self._tensors[count] = torch.from_numpy(self._blocks[count])
            self._fill(count)
        return self._tensors[count][self.tick]

    def _fill(self, count: int) -> None:
        steps = self._step + np.arange(self.ahead - self.tick)[:, None]
        self._blocks[count][self.tick :] = uniform_at(self.seed, self._episode_seed, steps, count)
