"""Fitting one dictionary with Adam on shuffled batches: the loop that every kind goes through."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, TypeVar, cast

import torch
from jaxtyping import Float
from torch import Tensor

from policyscope.dictionaries.behaviour import Behaviour
from policyscope.dictionaries.checkpoint import Checkpoint
from policyscope.dictionaries.coordinates import Coordinates
from policyscope.dictionaries.curves import Curves, measure
from policyscope.dictionaries.dictionary import Dictionary
from policyscope.dictionaries.products import fast_products
from policyscope.dictionaries.schedule import Schedule
from policyscope.dictionaries.source import InMemory, Pair, Source, checked, few
from policyscope.dictionaries.training import Training
from policyscope.errors import InvalidInput, NotEnoughData, NotFinite
from policyscope.progress import track
from policyscope.table import Column, Table

# Rows on which the curves are measured when no held-out data are given: standard error of a
# firing rate below 0.008, and a small part of the cost of an epoch.
PROBE_STEPS = 4096
MOST_HELD_OUT = 16_384
# Rows for what is found from the data at once: scaling, thresholds, closed forms.
CALIBRATION_STEPS = 32_768

Kind = TypeVar("Kind", bound=Dictionary)
# Its widths are compared with those of x and y when the fit begins.
HeldOut = tuple[Float[Tensor, "_ _"], Float[Tensor, "_ _"]]


@dataclass(frozen=True, eq=False)
class Fitted:
    """A dictionary that has been fitted, how the fit went, and the seeds that repeat it."""

    dictionary: Dictionary
    curves: Curves
    seed: int
    data_seed: int

    @property
    def unexplained(self) -> float:
        """Share of the variance of y that is not explained after the last epoch; 0 is best."""
        return float(self.curves.unexplained[-1])

    def table(self) -> Table:
        """The curves as a table, one row per epoch."""
        curves = self.curves.columns()
        rows = zip(
            range(1, len(self.curves) + 1), *(c.tolist() for c in curves.values()), strict=True
        )
        columns = (Column("epoch"), *(Column(name, ".4g") for name in curves))
        return Table(str(self.dictionary), columns, tuple(rows))

    def __repr__(self) -> str:
        curves = self.curves
        return (
            f"Fitted({self.dictionary}: unexplained {self.unexplained:.4g}, "
            f"L0 {curves.l0[-1]:.3g}, dead {curves.dead[-1]:.0%}, {len(curves)} epochs)"
        )


def fit(
    dictionary: Dictionary,
    x: Float[Tensor, "step unit"],
    y: Float[Tensor, "_ target"],
    *,
    schedule: Schedule | None = None,
    seed: int = 0,
    data_seed: int = 0,
    held_out: HeldOut | None = None,
    behaviour: Behaviour | None = None,
    checkpoint: Checkpoint | None = None,
) -> Fitted:
    """A new dictionary with the choices of `dictionary`, fitted to carry `x` to `y`.

    `schedule` is by default the one of its kind. `seed` draws the parameters, `data_seed` the order
    of the steps, which is new in every epoch. `behaviour` also weighs the error by what it changes
    in the agent's outputs; directions then have unit norm in that metric, not in raw units. A
    `checkpoint` is written at the end too: it is the caller's to forget when the result is safe.
    `dictionary` itself is left as it is. Fits on the device of `x`.
    """
    return fit_source(
        dictionary,
        InMemory(x, y, data_seed),
        schedule=schedule,
        seed=seed,
        data_seed=data_seed,
        held_out=held_out,
        behaviour=behaviour,
        checkpoint=checkpoint,
    )


@fast_products()
def fit_source(
    dictionary: Dictionary,
    source: Source,
    *,
    schedule: Schedule | None = None,
    seed: int = 0,
    data_seed: int = 0,
    held_out: HeldOut | None = None,
    behaviour: Behaviour | None = None,
    checkpoint: Checkpoint | None = None,
) -> Fitted:
    """As `fit`, from a source of which no more than a batch need be in memory.

    Without `held_out` the curves are measured on samples of the source.
    """
    schedule = schedule or dictionary.schedule
    schedule.check()
    x, y = checked(*source.sample(CALIBRATION_STEPS))
    built = build(dictionary, x, y, seed)
    scaling = built.scaling(x, y) if schedule.scale else None
    coordinates = Coordinates.of(x, y, scaling, behaviour)
    probe = coordinates.apply(*probe_of(held_out, x, y))
    sample = coordinates.apply(x, y)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        is_solved = built.solve(*sample, generator)
    if is_solved:
        curves = solved_curves(built, coordinates, sample, probe)
    else:
        training = Training(built, schedule, coordinates, source.count)
        identity = identity_of(built, source, seed, behaviour)
        curves = Curves.of(train(training, source, probe, identity, checkpoint))
        with torch.no_grad():
            built.finish(*sample)
    coordinates.fold(built)
    return Fitted(built, curves, seed, data_seed)


def train(
    training: Training,
    source: Source,
    probe: HeldOut,
    identity: dict[str, Any],
    checkpoint: Checkpoint | None,
) -> list[dict[str, float]]:
    """Minimizes the loss in place, from where a checkpoint left it; the curves, row by row."""
    dictionary, schedule = training.dictionary, training.schedule
    identity = {**identity, "schedule": asdict(schedule)}
    rows = [] if checkpoint is None else checkpoint.read(training, identity)
    label = f"fitting {dictionary.name or dictionary!r}"
    with track(label, source.count * schedule.epochs, "samples") as progress:
        progress.advance(len(rows) * source.count + training.seen)
        for epoch in range(len(rows), schedule.epochs):
            for x, y in rest_of(training, source, epoch):
                training.take(x, y)
                progress.advance(len(x))
                if checkpoint is not None and checkpoint.is_due():
                    checkpoint.write(training, identity, rows)
            if training.seen == 0:
                raise NotEnoughData(f"The source gave no batch in epoch {epoch + 1}.")
            means = training.means()
            check_converging(means["loss"], epoch, schedule.learning_rate)
            rows.append({**means, **measure(dictionary, *probe, training.coordinates)})
            training.begin_epoch()
            progress.advance(0, f"unexplained {rows[-1]['unexplained']:.3g}")
    if checkpoint is not None:
        checkpoint.write(training, identity, rows)
    return rows


def rest_of(training: Training, source: Source, epoch: int) -> Iterator[Pair]:
    """The batches of a pass that are still to be taken, checked unless they were at the start."""
    size = training.schedule.batch_size
    left = islice(source.batches(epoch, size), math.ceil(training.seen / size), None)
    return left if isinstance(source, InMemory) else (checked(*pair) for pair in left)


def identity_of(
    dictionary: Dictionary, source: Source, seed: int, behaviour: Behaviour | None
) -> dict[str, Any]:
    """What must be the same for a fit to go on from a checkpoint."""
    return {
        "kind": type(dictionary).__name__,
        "choices": dictionary.choices(),
        "units": [dictionary.d_in, dictionary.d_out],
        "samples": source.count,
        "data": f"{getattr(source, 'data_seed', '')} {getattr(source, 'about', '')}".strip(),
        "seed": seed,
        "behaviour": 0.0 if behaviour is None else behaviour.weight,
    }


def solved_curves(
    dictionary: Dictionary, coordinates: Coordinates, sample: HeldOut, probe: HeldOut
) -> Curves:
    """One row for a kind that found its parameters at once."""
    x, y = sample
    with torch.no_grad():
        mse = float((dictionary(x) - y).square().sum(-1).mean())
    return Curves.of([{"loss": mse, "mse": mse, **measure(dictionary, *probe, coordinates)}])


def build(dictionary: Kind, x: Tensor, y: Tensor, seed: int) -> Kind:
    """A fresh dictionary of the same choices, sized for x and y, on their device."""
    built = cast(Kind, dictionary.unbuilt())
    # Drawn on the CPU on every machine, so that a seed means the same parameters everywhere.
    built.build(x.shape[1], y.shape[1], torch.Generator().manual_seed(seed))
    return built.to(x.device)


def probe_of(held_out: HeldOut | None, x: Tensor, y: Tensor) -> HeldOut:
    """What the curves are measured on: of `held_out`, or of the data, no more than is needed."""
    if held_out is None:
        return few((x, y), PROBE_STEPS)
    widths, given = [x.shape[1], y.shape[1]], [side.shape[-1] for side in held_out]
    if given != widths:
        raise InvalidInput(
            f"The held-out x and y have {given} units; x and y have {widths}. They must be alike."
        )
    return checked(*few(held_out, MOST_HELD_OUT))


def check_converging(loss: float, epoch: int, learning_rate: float) -> None:
    """Raises when the loss of an epoch is no number any more."""
    if not math.isfinite(loss):
        raise NotFinite(
            f"The loss became {loss} in epoch {epoch + 1} with learning_rate {learning_rate}. "
            "Use a lower learning rate, or scale the activations down."
        )
