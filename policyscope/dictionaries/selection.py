"""Which features are active: the most called for of each step, of a whole batch, or above a bound.

On a CPU the readings are made part by part in one small buffer, and only those that may be active
are kept. Where the processor has units for bfloat16 the buffer is of that type, with a few more
kept than are wanted; which of them are active is decided by their float32 readings. So no matrix
of all readings is ever held. On a GPU, and where so many features are active that a list of them
does not pay, all is one matrix. Of ties any may win.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from policyscope.dictionaries.codes import (
    Codes,
    DenseCodes,
    ListedCodes,
    Places,
    Reader,
    Reading,
)
from policyscope.dictionaries.products import has_bfloat16_units

# Readings that are held at once: they stay in the processor's cache.
BUFFER_ENTRIES = 2**21
# Groups per wanted feature, of which only the largest reading is looked at first.
GROUPS = 8
# One in so many more is kept than is wanted, and this many, in case rounding put it too low. At
# the usual numbers less than one feature in a step reads within rounding of the last one wanted.
SPARE_SHARE, SPARE = 16, 2
# Steps from which it is guessed how many entries there will be, and how many more of them to look
# at than are wanted. A wrong guess costs time only.
SAMPLE_STEPS, MARGIN = 128, 1.5
# Share of features active and weights of the encoder up to which, and from which, a list costs a
# CPU less than a matrix; about even there from 64 → 256 to 512 → 2048, with gradients.
MOST_DENSITY, LEAST_WEIGHTS = 1 / 8, 2**14

Numbers = Shaped[np.ndarray, "step feature"]
"""Readings of a part of the batch, or whole numbers in the same order where they are positive."""
Choose = Callable[[Numbers], Int[np.ndarray, " entry"]]
"""Which of them may be active, as places in the flat array."""


def top_per_step(reader: Reader, k: int) -> Codes:
    """The `k` largest readings of each step where they are positive."""
    if list_pays(reader, lambda: k / reader.width):
        values, places = search(reader, lambda numbers: candidates(numbers, k))
        return listed(reader, values, places, largest_of_each(values, places, k))
    pre = reader.read()
    values, places = pre.topk(k, dim=-1, sorted=False)
    return DenseCodes(torch.zeros_like(pre).scatter(-1, places, values.relu()), pre)


def top_of_batch(reader: Reader, k: int) -> Codes:
    """The largest readings of the batch where they are positive, as many as `k` per step."""
    count = k * len(reader.x)
    if list_pays(reader, lambda: k / reader.width):
        bound = likely_bound(reader, k)
        values, places = search(reader, lambda numbers: larger(numbers, bound))
        if len(values) < count and bound > 0:
            values, places = search(reader, lambda numbers: larger(numbers, 0.0))
        return listed(reader, values, places, largest(values, count))
    pre = reader.read()
    values, places = pre.flatten().topk(count, sorted=False)
    codes = torch.zeros_like(pre).flatten().scatter(0, places, values.relu())
    return DenseCodes(codes.view_as(pre), pre)


def above(reader: Reader, bound: Float[Tensor, "*feature"]) -> Codes:
    """The readings above `bound`, one for each feature or one for all."""
    bound = bound.detach()
    if list_pays(reader, lambda: share_above(reader, bound)):
        least = bound.numpy()
        values, places = search(reader, lambda numbers: larger(numbers, least), exactly=True)
        return listed(reader, values, places, np.ones(len(values), bool))
    pre = reader.read()
    return DenseCodes(torch.where(pre > bound, pre, 0.0), pre)


def list_pays(reader: Reader, density: Callable[[], float]) -> bool:
    """Whether a list of active entries is cheaper to fit with than a matrix of all."""
    is_large = reader.encoder.numel() >= LEAST_WEIGHTS
    return reader.x.device.type == "cpu" and is_large and density() <= MOST_DENSITY


# --- making the list -----------------------------------------------------------------------------


def listed(
    reader: Reader,
    values: Shaped[np.ndarray, " entry"],
    places: Places,
    is_active: Bool[np.ndarray, " entry"],
) -> ListedCodes:
    """The active ones of the readings that were found as codes, with their gradients."""
    kept = np.flatnonzero(is_active)
    found, there = torch.from_numpy(values[kept]), places.only(kept)
    codes = Reading.apply(reader.x, reader.encoder, reader.bias, found, there)
    return ListedCodes(codes, there, reader)


@torch.autocast("cpu", enabled=False)
@torch.no_grad()
def search(
    reader: Reader, choose: Choose, exactly: bool = False
) -> tuple[Shaped[np.ndarray, " entry"], Places]:
    """The values and places of the readings that `choose` wants.

    It chooses by rounded readings where that is faster, unless `exactly`; the values are exact.
    """
    is_rough = not exactly and is_rounded(reader)
    rough = reader.rounded() if is_rough else reader
    width, steps = reader.width, len(reader.x)
    rows = min(steps, max(1, BUFFER_ENTRIES // width))
    buffer = rough.x.new_empty(rows, width)
    values, features, counts = [], [], []
    for part in rough.x.split(rows):
        pre = torch.addmm(rough.bias, part, rough.encoder.T, out=buffer[: len(part)])
        flat = choose(as_numbers(pre))
        # A feature whose weights are NaN reads NaN at every step, and must not be passed over.
        if pre[-1].isnan().any():
            flat = np.union1d(flat, np.flatnonzero(pre.isnan().numpy()))
        if not is_rough:
            values.append(pre.numpy().ravel()[flat])
        features.append((flat % width).astype(np.int32))
        counts.append(np.diff(np.searchsorted(flat, width * np.arange(len(part) + 1))))
    bounds = np.concatenate([[0], *counts]).cumsum(dtype=np.int32)
    places = Places(np.concatenate(features), bounds, width)
    if is_rough:
        exact = places.products(reader.x, reader.encoder)
        return (exact + reader.bias[torch.from_numpy(places.feature)]).numpy(), places
    return np.concatenate(values), places


def is_rounded(reader: Reader) -> bool:
    """Whether readings are looked at in bfloat16 first."""
    return reader.x.dtype == torch.float32 and has_bfloat16_units()


def as_numbers(pre: Float[Tensor, "step feature"]) -> Numbers:
    """The readings, or of bfloat16, which numpy lacks, the bits: positive ones are in order."""
    return (pre.view(torch.int16) if pre.dtype == torch.bfloat16 else pre).numpy()


@torch.autocast("cpu", enabled=False)
@torch.no_grad()
def likely_bound(reader: Reader, k: int) -> float:
    """A number of 0 or more above which there are probably more than `k` readings per step."""
    some = reader.sample(SAMPLE_STEPS)
    seen = as_numbers((some.rounded() if is_rounded(some) else some).read()).ravel()
    wanted = min(int(MARGIN * k * len(some.x)), len(seen))
    return max(0.0, float(np.partition(seen, len(seen) - wanted)[len(seen) - wanted]))


@torch.no_grad()
def share_above(reader: Reader, bound: Float[Tensor, "*feature"]) -> float:
    """About which share of the readings are above `bound`."""
    return float((reader.sample(SAMPLE_STEPS).read() > bound).float().mean())


def larger(
    numbers: Numbers, bound: float | Shaped[np.ndarray, "*feature"]
) -> Int[np.ndarray, " entry"]:
    """The places of the numbers above `bound`."""
    return np.flatnonzero(numbers > bound)


def candidates(numbers: Numbers, k: int) -> Int[np.ndarray, " entry"]:
    """Places among which are the `k` largest positive numbers of each step, and few others."""
    steps, width = numbers.shape
    groups = min(width, GROUPS * k)
    size, wanted = width // groups, min(groups, k + k // SPARE_SHARE + SPARE)
    # So many groups have a larger number, so that at least as many numbers are larger.
    grouped = torch.from_numpy(numbers)[:, : groups * size].view(steps, size, groups)
    bound = np.partition(grouped.amax(1).numpy(), groups - wanted, axis=1)[:, groups - wanted]
    positive = 1 if numbers.dtype.kind == "i" else np.finfo(numbers.dtype).tiny
    return np.flatnonzero(numbers >= np.maximum(bound, positive)[:, None])


# --- which of those that were found --------------------------------------------------------------


def largest_of_each(
    values: Shaped[np.ndarray, " entry"], places: Places, k: int
) -> Bool[np.ndarray, " entry"]:
    """Which are the `k` largest positive ones of their step. NaN is largest."""
    counts = np.diff(places.bounds)
    most = max(k, counts.max())
    rows = np.full((len(counts), most), -np.inf, values.dtype)
    rows[np.arange(most) < counts[:, None]] = values
    cut = np.partition(rows, most - k, axis=1)[:, most - k]
    is_active = ~(values < np.repeat(cut, counts)) & ~(values <= 0)
    ended = np.concatenate([[0], is_active.cumsum()])[places.bounds]
    for step in np.flatnonzero(np.diff(ended) > k):
        here = slice(places.bounds[step], places.bounds[step + 1])
        is_active[here] = largest(values[here], k)
    return is_active


def largest(values: Shaped[np.ndarray, " entry"], count: int) -> Bool[np.ndarray, " entry"]:
    """Which are the `count` largest and positive. NaN is largest."""
    is_active = ~(values <= 0)
    surplus = len(values) - count
    if surplus <= 0:
        return is_active
    cut = np.partition(values, surplus)[surplus]
    is_active &= ~(values < cut)
    ties = np.flatnonzero(values == cut)
    too_many = max(0, np.count_nonzero(is_active) - count)
    is_active[ties[:too_many]] = False
    return is_active
