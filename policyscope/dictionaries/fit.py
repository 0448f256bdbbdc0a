"""Fitting one dictionary with Adam on shuffled batches: the plain loop that every kind can use."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from policyscope.dictionaries.dictionary import Dictionary
from policyscope.errors import InvalidInput, NotEnoughData, NotFinite
from policyscope.progress import track
from policyscope.table import Column, Table

# Rows on which the curves are measured when no held-out data are given: standard error of a
# firing rate below 0.008, and a small part of the cost of an epoch.
PROBE_STEPS = 4096

Kind = TypeVar("Kind", bound=Dictionary)
Pair = tuple[Float[Tensor, "step unit"], Float[Tensor, "step target"]]
# Its widths are compared with those of x and y when the fit begins.
HeldOut = tuple[Float[Tensor, "_ _"], Float[Tensor, "_ _"]]
Stream = Callable[[int], Iterable[tuple[Tensor | np.ndarray, Tensor | np.ndarray]]]


@dataclass(frozen=True, eq=False)
class Curves:
    """How the fit went, one value per epoch.

    `loss` and its `parts` are means over the training batches of the epoch. `unexplained` (share
    of the variance of y, 0 best), `l0` (features active per step) and `dead` (share of features
    never active) are measured after the epoch, on the held-out data where there are any.
    """

    loss: Float[np.ndarray, " epoch"]
    parts: dict[str, Float[np.ndarray, " epoch"]]
    unexplained: Float[np.ndarray, " epoch"]
    l0: Float[np.ndarray, " epoch"]
    dead: Float[np.ndarray, " epoch"]

    @classmethod
    def of(cls, epochs: Sequence[Mapping[str, float]]) -> "Curves":
        """The curves from one mapping per epoch, names as in `columns`."""
        columns = {name: np.array([row[name] for row in epochs]) for name in epochs[0]}
        measured = {name: columns.pop(name) for name in ("loss", "unexplained", "l0", "dead")}
        return cls(parts=columns, **measured)

    def columns(self) -> dict[str, Float[np.ndarray, " epoch"]]:
        """Every curve by name, as it is written to `curves.csv`."""
        measured = {"unexplained": self.unexplained, "l0": self.l0, "dead": self.dead}
        return {"loss": self.loss, **self.parts, **measured}

    def __len__(self) -> int:
        return len(self.loss)

    def __repr__(self) -> str:
        return f"Curves({len(self)} epochs: {', '.join(self.columns())})"


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
    epochs: int = 50,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    seed: int = 0,
    data_seed: int = 0,
    held_out: HeldOut | None = None,
) -> Fitted:
    """A new dictionary with the choices of `dictionary`, fitted to carry `x` to `y`.

    `seed` draws the parameters, `data_seed` the order of the steps, which is new in every epoch.
    `dictionary` itself is left as it is. Fits on the device of `x`.
    """
    x, y = checked(x, y)
    check_schedule(epochs, batch_size, learning_rate)

    def shuffled() -> Iterator[Iterator[Pair]]:
        for order in orders(len(x), epochs, data_seed, x.device):
            yield ((x[rows], y[rows]) for rows in order.split(batch_size))

    built = build(dictionary, x, y, seed)
    probe = probe_of(held_out, x, y)
    curves = train(built, shuffled(), epochs, learning_rate, probe)
    return Fitted(built, curves, seed, data_seed)


def fit_stream(
    dictionary: Dictionary,
    batches: Stream,
    *,
    epochs: int = 50,
    learning_rate: float = 1e-3,
    seed: int = 0,
    held_out: HeldOut | None = None,
) -> Fitted:
    """As `fit`, but `batches(epoch)` gives the shuffled (x, y) batches of that epoch, one by one.

    Nothing is kept but one batch, so a recording of any size can be streamed. Without `held_out`
    the curves are measured on the first batch.
    """
    check_schedule(epochs, 1, learning_rate)
    first = iter(batches(0))
    opening = next(first, None)
    if opening is None:
        raise NotEnoughData("The stream gave no batch for epoch 0, so there is nothing to fit.")
    x, y = checked(*opening)

    def streamed() -> Iterator[Iterator[Pair]]:
        yield (checked(*batch) for batch in chain([opening], first))
        for epoch in range(1, epochs):
            yield (checked(*batch) for batch in batches(epoch))

    built = build(dictionary, x, y, seed)
    curves = train(built, streamed(), epochs, learning_rate, probe_of(held_out, x, y))
    return Fitted(built, curves, seed, data_seed=0)


def train(
    dictionary: Dictionary,
    passes: Iterator[Iterator[Pair]],
    epochs: int,
    learning_rate: float,
    probe: HeldOut,
) -> Curves:
    """Minimizes the loss of a built `dictionary` in place, one pass over the data per epoch."""
    optimizer = torch.optim.Adam(dictionary.parameters(), lr=learning_rate, fused=True)
    rows: list[dict[str, float]] = []
    with track(f"fitting {dictionary.name or dictionary!r}", epochs, "epochs") as progress:
        for epoch, batches in enumerate(passes):
            means = train_epoch(dictionary, optimizer, batches)
            check_converging(means["loss"], epoch, learning_rate)
            rows.append({**means, **measure(dictionary, *probe)})
            progress.advance(1, f"unexplained {rows[-1]['unexplained']:.3g}")
    return Curves.of(rows)


def train_epoch(
    dictionary: Dictionary, optimizer: torch.optim.Optimizer, batches: Iterator[Pair]
) -> dict[str, float]:
    """One pass of Adam; the means over its steps of the loss and of its parts."""
    sums: dict[str, Tensor | float] = {}
    steps = 0
    for x, y in batches:
        optimizer.zero_grad(set_to_none=True)
        loss, parts = dictionary.loss(x, y)
        loss.backward()
        optimizer.step()
        steps += len(x)
        for name, value in {"loss": loss, **parts}.items():
            sums[name] = sums.get(name, 0.0) + value.detach() * len(x)
    if steps == 0:
        raise NotEnoughData(
            "The stream gave no batch for a later epoch. Give a function that makes the batches "
            "anew each time it is called, not one iterator."
        )
    return {name: float(total) / steps for name, total in sums.items()}


@torch.no_grad()
def measure(
    dictionary: Dictionary, x: Float[Tensor, "step unit"], y: Float[Tensor, "step target"]
) -> dict[str, float]:
    """`unexplained`, `l0` and `dead` of a dictionary on the steps given.

    `unexplained` is NaN where y does not vary, for then there is nothing to explain.
    """
    codes = dictionary.encode(x)
    error = (dictionary.decode(codes) - y).double().square().sum()
    active = codes != 0
    return {
        "unexplained": float(error / variation(y)),
        "l0": float(active.sum(-1).double().mean()),
        "dead": float((~active.any(0)).double().mean()),
    }


def variation(y: Float[Tensor, "step target"]) -> float:
    """Summed squared distance of `y` from its mean; NaN where y is constant."""
    y = y.double()
    total = float((y - y.mean(0)).square().sum())
    return total if total > 0 else math.nan


def build(dictionary: Kind, x: Tensor, y: Tensor, seed: int) -> Kind:
    """A fresh dictionary of the same choices, sized for x and y, on their device."""
    built = cast(Kind, dictionary.unbuilt())
    # Drawn on the CPU on every machine, so that a seed means the same parameters everywhere.
    built.build(x.shape[1], y.shape[1], torch.Generator().manual_seed(seed))
    return built.to(x.device)


def orders(steps: int, epochs: int, seed: int, device: torch.device) -> Iterator[Tensor]:
    """The order of the steps in each epoch; every fit with this seed sees the same."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        yield torch.randperm(steps, generator=generator).to(device)


def probe_of(held_out: HeldOut | None, x: Tensor, y: Tensor) -> HeldOut:
    """What the curves are measured on: `held_out`, or at most `PROBE_STEPS` steps of the data."""
    if held_out is None:
        count = min(len(x), PROBE_STEPS)
        rows = torch.arange(count, device=x.device) * len(x) // count
        return x[rows], y[rows]
    widths, given = [x.shape[1], y.shape[1]], [side.shape[-1] for side in held_out]
    if given != widths:
        raise InvalidInput(
            f"The held-out x and y have {given} units; x and y have {widths}. They must be alike."
        )
    return checked(*held_out)


def checked(x: Tensor | np.ndarray, y: Tensor | np.ndarray) -> Pair:
    """`x` and `y` as float32 tensors; an error that says what is wrong if they cannot be fitted."""
    pair = torch.as_tensor(x).float(), torch.as_tensor(y).float()
    for side, values in zip("xy", pair, strict=True):
        if values.ndim != 2:
            raise InvalidInput(
                f"{side} has shape {tuple(values.shape)}; expected [step, unit]. Give one row per "
                "step, and for a convolutional site one row per position."
            )
    if len(pair[0]) != len(pair[1]):
        raise InvalidInput(
            f"x has {len(pair[0])} steps and y has {len(pair[1])}; they must be the same steps."
        )
    if pair[0].numel() == 0 or pair[1].numel() == 0:
        shapes = f"x {list(pair[0].shape)}, y {list(pair[1].shape)}"
        raise NotEnoughData(f"There is nothing to fit: {shapes} hold no values. Record some steps.")
    for side, values in zip("xy", pair, strict=True):
        # One sum finds any NaN or Inf; where it overflows, the exact check decides.
        if not torch.isfinite(values.sum()) and not torch.isfinite(values).all():
            step, unit = torch.nonzero(~torch.isfinite(values))[0].tolist()
            raise NotFinite(
                f"{side} is {values[step, unit].item()} at step {step}, unit {unit}; "
                "dictionaries are fitted to finite numbers only."
            )
    return pair


def check_schedule(epochs: int, batch_size: int, learning_rate: float) -> None:
    """Raises where the schedule would do nothing or go nowhere."""
    for what, given in (("epochs", epochs), ("batch_size", batch_size)):
        if given < 1:
            raise InvalidInput(f"{what} is {given}; give at least 1.")
    if not 0 < learning_rate < math.inf:
        raise InvalidInput(f"learning_rate is {learning_rate}; give a positive number, as 1e-3.")


def check_converging(loss: float, epoch: int, learning_rate: float) -> None:
    """Raises when the loss of an epoch is no number any more."""
    if not math.isfinite(loss):
        raise NotFinite(
            f"The loss became {loss} in epoch {epoch + 1} with learning_rate {learning_rate}. "
            "Use a lower learning rate, or scale the activations down."
        )
