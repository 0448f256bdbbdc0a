"""Fitting while the agent plays: from the rollout through a mixing buffer to the fit.

Nothing is recorded. Neighbouring steps of an episode are nearly the same, so samples wait in a
buffer of many rows and episodes and leave it in random order, as one pool after another, half of
it replaced each time. Every pass over the source is new experience of the same agent.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from itertools import count as numbers

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from policyscope.address import Site
from policyscope.agents.agent import Agent
from policyscope.dictionaries.source import Pair
from policyscope.envs.environment import Environment
from policyscope.errors import InvalidInput
from policyscope.recordings.block import Block
from policyscope.rollouts.rollout import Plan, rollout
from policyscope.rollouts.rows import Job
from policyscope.rollouts.seeds import episode_seeds

MIXED_SAMPLES = 65_536
"""Samples in the buffer; at 32 rows that is some two thousand steps of every row."""
CHOOSING_SAMPLES = 16_384
CHOOSING_EPOCH = 1_000
"""The experience that chooses among seeds, counted as a pass that no fit gets to."""
EPISODES_PER_EPOCH = 50_000


@dataclass(frozen=True, eq=False)
class Online:
    """The activations of two sites, made by playing: the same again for the same seed."""

    agent: Agent
    make_environment: Callable[[int], Environment]
    sites: tuple[Site, Site]
    count: int
    """Samples of one pass; a convolutional site gives one per position."""
    rows: int
    data_seed: int
    # No episode of a recording is one of these.
    fitted_on: tuple[int, ...] = ()
    choose_on: tuple[int, ...] = ()
    held_out: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InvalidInput(f"{self.count} samples are no fit; give at least 1.")

    def batches(self, epoch: int, batch_size: int) -> Iterator[Pair]:
        """The pairs of one pass of play, mixed; `epoch` decides which episodes are played."""
        generator = np.random.default_rng((self.data_seed, epoch))
        with closing(self.played(epoch, self.count)) as pairs:
            yield from mixed(pairs, batch_size, generator)

    def sample(self, count: int) -> Pair:
        """At most so many pairs of the first pass."""
        kept: list[Pair] = []
        with closing(self.played(0, min(count, self.count))) as pairs:
            kept.extend(pairs)
        x, y = (torch.cat([pair[side] for pair in kept]) for side in (0, 1))
        return x, y

    def played(self, epoch: int, count: int) -> Generator[Pair, None, None]:
        """Pairs in the order in which they are played, `count` in all."""
        first = episode_seeds("fit", 1, self.data_seed).start + epoch * EPISODES_PER_EPOCH
        environment = self.make_environment(self.rows)
        plan = Plan(reads=self.sites, keep=(), seed=self.data_seed)
        jobs = (Job(number, first + number) for number in numbers())
        left = count
        try:
            with closing(rollout(self.agent, environment, jobs, plan)) as blocks:
                for block in blocks:
                    x, y = (samples_of(block, site)[:left] for site in self.sites)
                    yield x, y
                    left -= len(x)
                    if left <= 0:
                        return
        finally:
            environment.close()

    @cached_property
    def chosen(self) -> Pair:
        """Samples of episodes that no fit sees."""
        kept = list(self.played(CHOOSING_EPOCH, min(CHOOSING_SAMPLES, self.count)))
        x, y = (torch.cat([pair[side] for pair in kept]) for side in (0, 1))
        return x, y

    @property
    def choose_x(self) -> Float[Tensor, "chosen unit"]:
        """What chooses among seeds: x."""
        return self.chosen[0]

    @property
    def choose_y(self) -> Float[Tensor, "chosen target"]:
        """What chooses among seeds: y."""
        return self.chosen[1]


def samples_of(block: Block, site: Site) -> Float[Tensor, "sample unit"]:
    """The activations of one site in a block, a sample per step, position or token."""
    values = block.columns[str(site)]
    if values.ndim == 5:  # [step, row, channel, height, width]
        values = np.moveaxis(values, 2, -1)
    played = values[block.episode >= 0]
    return torch.from_numpy(np.ascontiguousarray(played, np.float32)).flatten(0, -2)


def mixed(
    pairs: Iterable[Pair], batch_size: int, generator: np.random.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """The samples of `pairs` as batches, each drawn from all over a large buffer."""
    held: list[tuple[Tensor, Tensor]] = []
    waiting = 0
    target = max(MIXED_SAMPLES, 2 * batch_size)
    for pair in pairs:
        held.append(pair)
        waiting += len(pair[0])
        if waiting >= target:
            x, y = shuffled(held, generator)
            out = (len(x) // 2) // batch_size * batch_size
            yield from zip(x[:out].split(batch_size), y[:out].split(batch_size), strict=True)
            held, waiting = [(x[out:], y[out:])], len(x) - out
    if waiting:
        x, y = shuffled(held, generator)
        yield from zip(x.split(batch_size), y.split(batch_size), strict=True)


def shuffled(pairs: list[tuple[Tensor, Tensor]], generator: np.random.Generator) -> Pair:
    """All pairs as one, in random order."""
    x, y = (torch.cat([pair[side] for pair in pairs]) for side in (0, 1))
    order = torch.from_numpy(generator.permutation(len(x)))
    return x[order], y[order]
