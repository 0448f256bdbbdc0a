"""Two ways of doing one job, measured in turn: CPU and wall seconds, and the ratio of their rates.

The arms take turns within a round and the ratio is taken within the round too, so whatever else
the machine does slows both alike. Reported is the median over the rounds, with the smallest and
the largest.
"""

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from policyscope.table import Column, Table

Arm = Callable[[], int]
"""Does the work and returns how many units of it (steps, fits) it did."""


@dataclass(frozen=True)
class Spread:
    """The median of some rounds, and the smallest and the largest of them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The spread of what the rounds gave."""
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{self.low:.3g}–{self.high:.3g}"


@dataclass(frozen=True)
class Comparison:
    """What one job took against another; above 1 ours is faster."""

    job: str
    against: str
    unit: str
    target: float
    cpu: Spread
    wall: Spread
    ours: float
    """Units per CPU second, the median over the rounds."""
    theirs: float

    @property
    def is_met(self) -> bool:
        """Whether the median ratio per CPU second reaches the target."""
        return self.cpu.median >= self.target


def compare(
    job: str, against: str, unit: str, target: float, ours: Arm, theirs: Arm, rounds: int
) -> Comparison:
    """Plays both arms in turn; the first of three or more `rounds` warms up and moves no median."""
    measured = [(rates(ours), rates(theirs)) for _ in range(rounds)]
    return Comparison(
        job=job,
        against=against,
        unit=unit,
        target=target,
        cpu=Spread.of([a[0] / b[0] for a, b in measured]),
        wall=Spread.of([a[1] / b[1] for a, b in measured]),
        ours=statistics.median(a[0] for a, _ in measured),
        theirs=statistics.median(b[0] for _, b in measured),
    )


def rates(arm: Arm) -> tuple[float, float]:
    """Units per CPU second, all threads of the process counted, and per second of the clock."""
    cpu, wall = time.process_time(), time.perf_counter()
    units = arm()
    return units / (time.process_time() - cpu), units / (time.perf_counter() - wall)


def ratios(comparisons: Sequence[Comparison]) -> Table:
    """One row per comparison."""
    columns = (
        Column("what", side="left"),
        Column("against", side="left"),
        Column("× per CPU s", ".3g"),
        Column("range"),
        Column("target", ".3g"),
        Column("met", side="left"),
        Column("× by the clock", ".3g"),
        Column("ours per CPU s"),
        Column("theirs", side="left"),
    )
    rows = tuple(
        (
            one.job,
            one.against,
            one.cpu.median,
            str(one.cpu),
            one.target,
            "yes" if one.is_met else "NO",
            one.wall.median,
            say_rate(one.ours),
            f"{say_rate(one.theirs)} {one.unit}",
        )
        for one in comparisons
    )
    return Table("Speed", columns, rows, machine())


def say_rate(rate: float) -> str:
    """A rate in three digits or so."""
    return f"{rate / 1000:,.4g}k" if rate >= 1000 else f"{rate:.3g}"


def machine() -> str:
    """What the figures were measured on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (
        f"{models[0] if models else platform.processor() or platform.machine()}, "
        f"{os.cpu_count()} cores{load}; Python {platform.python_version()}, "
        f"torch {torch.__version__} on {torch.get_num_threads()} thread, numpy {np.__version__}"
    )
