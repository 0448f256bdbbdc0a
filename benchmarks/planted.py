"""Planted dictionaries: which kinds find directions that are known, and how many of them.

    python -m benchmarks.planted [--parts] [--width N] [--samples N] [--seeds N]
                                 [--learning-rate X] [--only KIND …]

Activations of 64 units are sums of 3 to 6 of 256 random directions with amounts uniform in [½, 3/2)
and Gaussian noise of deviation 0.05 per unit. Every registered kind is fitted as an autoencoder of
width 512 (nobody would know how many directions there are), or as wide as it can be, by its own
schedule, and with k = 5 where it has a k. A true direction is recovered when the feature matched to
it (one to one, Hungarian method) has a |cosine| of at least 0.9; MMCS is the mean over the true
directions of the largest |cosine| with any feature. With `--parts` directions, and so activations,
are never negative, as after a ReLU.

No kind is tuned to the data: choices but for width and k are the defaults, unless `CHOICES` says
so. Kinds without a k may therefore stand at another L0.
"""

import argparse
import os
import time
from dataclasses import dataclass, fields
from typing import Any, cast

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NO_PROGRESS", "1")

import numpy as np
import torch

from policyscope.dictionaries.dictionary import DICTIONARIES, Dictionary
from policyscope.dictionaries.fit import Fitted, fit
from policyscope.errors import InvalidInput, PolicyscopeError
from policyscope.scores.stability import cosines, match
from policyscope.table import Column, Table
from policyscope.testing.planted import planted_dictionary, planted_directions, planted_parts

UNITS, FEATURES, NOISE, ACTIVE = 64, 256, 0.05, (3, 6)
WIDTH = 512
SAMPLES, HELD_OUT = 50_000, 8192
K = 5
RECOVERED = 0.9
CHOICES: dict[str, dict[str, Any]] = {"nmf": {"width": FEATURES, "iterations": 50}}
"""Wider or longer, NMF takes many minutes."""


@dataclass(frozen=True)
class Row:
    """What one kind found: means over its seeds."""

    kind: str
    width: int = 0
    recovered: float = float("nan")
    mmcs: float = float("nan")
    l0: float = float("nan")
    unexplained: float = float("nan")
    dead: float = float("nan")
    seconds: float = float("nan")
    note: str = ""


COLUMNS = (
    Column("kind", side="left"),
    Column("width"),
    Column("recovered", ".1%"),
    Column("MMCS", ".3f"),
    Column("L0", ".2f"),
    Column("unexplained", ".3f"),
    Column("dead", ".1%"),
    Column("CPU s", ".1f"),
    Column("", side="left"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", action="store_true", help="directions that are never negative")
    parser.add_argument("--samples", type=int, default=SAMPLES, help="to fit on")
    parser.add_argument("--seeds", type=int, default=1, help="of data and fit together")
    parser.add_argument("--width", type=int, default=WIDTH, help="of the dictionaries")
    parser.add_argument("--learning-rate", type=float, help="by default each kind's own")
    parser.add_argument("--only", nargs="+", metavar="KIND", help="kinds by name")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for kind in given.only or DICTIONARIES.names():
        rows.append(measure_kind(kind, given))
        print(f"{kind}: {rows[-1].recovered:.1%} {rows[-1].note}", flush=True)
    rows.sort(key=lambda row: -np.nan_to_num(row.recovered, nan=-1.0))
    what = "parts, never negative," if given.parts else "directions"
    title = (
        f"Planted dictionary: {FEATURES} true {what} in {UNITS} units, {ACTIVE[0]} to {ACTIVE[1]} "
        f"active, {given.samples:,} samples, {given.seeds} seeds"
    )
    note = f"Noise alone leaves {noise_share(given.parts):.3f} unexplained."
    values = tuple(tuple(getattr(row, field.name) for field in fields(Row)) for row in rows)
    print()
    print(Table(title, COLUMNS, values, note))


def measure_kind(kind: str, given: argparse.Namespace) -> Row:
    """One kind on planted data of several seeds."""
    samples = given.samples
    found: list[tuple[float, ...]] = []
    note = ""
    for seed in range(given.seeds):
        directions, x = planted(given.parts, samples + HELD_OUT, seed)
        began = time.process_time()
        try:
            fitted = fit_kind(kind, given, x[:samples], x[samples:], seed)
        except PolicyscopeError as error:
            return Row(kind, note=str(error).split(". ")[0])
        seconds = time.process_time() - began
        note = str(getattr(fitted.dictionary, "note", "")).split(";")[0]
        found.append((len(fitted.dictionary), *compare(directions, fitted), seconds))
    width, *means = np.mean(found, axis=0).tolist()
    return Row(kind, int(width), *means, note=note)


def compare(directions: torch.Tensor, fitted: Fitted) -> tuple[float, ...]:
    """Share recovered, mean largest |cosine|, L0, unexplained, dead."""
    truth, ours = directions.numpy(), fitted.dictionary.directions().numpy()
    matched = match(truth, ours)[1]
    largest = np.abs(cosines(truth, ours)).max(1)
    curves = fitted.curves
    return (
        float((matched >= RECOVERED).mean()),
        float(largest.mean()),
        float(curves.l0[-1]),
        fitted.unexplained,
        float(curves.dead[-1]),
    )


def planted(is_parts: bool, steps: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The true directions, and activations made of them."""
    make = planted_parts if is_parts else planted_directions
    directions = make(FEATURES, UNITS, seed)
    x, _ = planted_dictionary(directions, steps, active=ACTIVE, noise=NOISE, seed=seed)
    return directions, x.relu() if is_parts else x


def noise_share(is_parts: bool) -> float:
    """What is left by one who knows the directions and how much of each is in every step."""
    make = planted_parts if is_parts else planted_directions
    directions = make(FEATURES, UNITS, 0)
    _, x = planted(is_parts, HELD_OUT, 0)
    clean, _ = planted_dictionary(directions, HELD_OUT, active=ACTIVE, noise=0.0, seed=0)
    return float((x - clean).square().sum() / (x - x.mean(0)).square().sum())


def fit_kind(
    kind: str, given: argparse.Namespace, x: torch.Tensor, held_out: torch.Tensor, seed: int
) -> Fitted:
    """The kind fitted as wide as was asked for, or as it can be."""
    chosen = DICTIONARIES.get(kind)
    names = {field.name for field in fields(cast(Any, chosen))}
    choices = {"width": given.width, **({"k": K} if "k" in names else {}), **CHOICES.get(kind, {})}
    schedule = chosen.schedule.changed(learning_rate=given.learning_rate)

    def fitted(dictionary: Dictionary) -> Fitted:
        return fit(dictionary, x, x, schedule=schedule, seed=seed, held_out=(held_out, held_out))

    try:
        return fitted(chosen(**choices))
    except InvalidInput:
        return fitted(chosen(**{**choices, "width": UNITS}))


if __name__ == "__main__":
    main()
