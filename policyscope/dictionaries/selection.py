"""Which features are active: the most called for of each step, of a whole batch, or above a bound.

On a CPU the readings are made part by part in one small buffer, from which only the active ones
are kept, so that the readings of a batch are never held at once. Exact, ties aside, of which any
may win. On a GPU, and where so many features are active that a list of them does not pay, all is
one matrix.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from policyscope.dictionaries.codes import (
    Codes,
    DenseCodes,
    ListedCodes,
    Places,
    Reader,
    Reading,
)

# Readings that are held at once: 4 MB of them stay in the processor's cache.
BUFFER_ENTRIES = 2**20
# Groups per feature wanted, of which only the largest are looked at first. With 4, a third more
# readings than are wanted remain to be sorted out.
GROUPS = 4
# Steps from which it is guessed how many entries there will be, and how many more of them to look
# at than are wanted. A wrong guess costs time only.
SAMPLE_STEPS, MARGIN = 128, 1.5
# Share of features active and weights of the encoder up to which, and from which, a list costs a
# CPU less than a matrix; about even there from 64 → 256 to 512 → 2048, with gradients.
MOST_DENSITY, LEAST_WEIGHTS = 1 / 8, 2**14

Choose = Callable[[Shaped[np.ndarray, "step feature"]], Int[np.ndarray, " entry"]]
"""Of a part of the readings the active ones, as places in its flat array, in order of steps."""


def top_per_step(reader: Reader, k: int) -> Codes:
    """The `k` largest readings of each step where they are positive."""
    if list_pays(reader, lambda: k / reader.width):
        return listed(reader, *search(reader, lambda pre: largest_per_step(pre, k)))
    pre = reader.read()
    values, places = pre.topk(k, dim=-1, sorted=False)
    return DenseCodes(torch.zeros_like(pre).scatter(-1, places, values.relu()), pre)


def top_of_batch(reader: Reader, k: int) -> Codes:
    """The largest readings of the batch where they are positive, as many as `k` per step."""
    count = k * len(reader.x)
    if list_pays(reader, lambda: k / reader.width):
        bound = likely_bound(reader, k)
        values, places = search(reader, lambda pre: larger(pre, bound))
        if len(values) < count and bound > 0:
            values, places = search(reader, lambda pre: larger(pre, 0.0))
        kept = largest(values, count)
        return listed(reader, values[kept], places.only(kept))
    pre = reader.read()
    values, places = pre.flatten().topk(count, sorted=False)
    codes = torch.zeros_like(pre).flatten().scatter(0, places, values.relu())
    return DenseCodes(codes.view_as(pre), pre)


def above(reader: Reader, bound: Float[Tensor, "*feature"]) -> Codes:
    """The readings above `bound`, one for each feature or one for all."""
    bound = bound.detach()
    if list_pays(reader, lambda: share_above(reader, bound)):
        least = bound.numpy()
        return listed(reader, *search(reader, lambda pre: larger(pre, least)))
    pre = reader.read()
    return DenseCodes(torch.where(pre > bound, pre, 0.0), pre)


def list_pays(reader: Reader, density: Callable[[], float]) -> bool:
    """Whether a list of active entries is cheaper to fit with than a matrix of all."""
    is_large = reader.encoder.numel() >= LEAST_WEIGHTS
    return reader.x.device.type == "cpu" and is_large and density() <= MOST_DENSITY


# --- making the list -----------------------------------------------------------------------------


def listed(reader: Reader, values: Shaped[np.ndarray, " entry"], places: Places) -> ListedCodes:
    """Readings that were found active as codes, with their gradients."""
    found = torch.from_numpy(values)
    codes = Reading.apply(reader.x, reader.encoder, reader.bias, found, places)
    return ListedCodes(codes, places, reader)


@torch.no_grad()
def search(reader: Reader, choose: Choose) -> tuple[Shaped[np.ndarray, " entry"], Places]:
    """The values and places of the readings that `choose` finds active.

    Under autocast it chooses by rough readings; the values are exact all the same.
    """
    x, width = reader.x, reader.width
    rows = min(len(x), max(1, BUFFER_ENTRIES // width))
    is_rough = torch.is_autocast_enabled("cpu")
    dtype = torch.get_autocast_dtype("cpu") if is_rough else x.dtype
    encoder, bias = reader.encoder.to(dtype), reader.bias.to(dtype)
    buffer = encoder.new_empty(rows, width)
    values, features, counts = [], [], []
    for part in x.to(dtype).split(rows):
        pre = torch.addmm(bias, part, encoder.T, out=buffer[: len(part)]).to(x.dtype).numpy()
        flat = choose(pre)
        step, feature = np.divmod(flat, width)
        values.append(pre.ravel()[flat])
        features.append(feature.astype(np.int32))
        counts.append(np.bincount(step, minlength=len(part)))
    bounds = np.concatenate([[0], *counts]).cumsum(dtype=np.int32)
    places = Places(np.concatenate(features), bounds, width)
    if is_rough:
        exact = places.products(x, reader.encoder) + reader.bias[torch.from_numpy(places.feature)]
        return exact.numpy(), places
    return np.concatenate(values), places


@torch.no_grad()
def likely_bound(reader: Reader, k: int) -> float:
    """A bound of 0 or more above which there are probably more than `k` readings per step."""
    seen = reader.sample(SAMPLE_STEPS).read()
    wanted = min(int(MARGIN * k * len(seen)), seen.numel())
    return max(0.0, float(seen.flatten().topk(wanted, sorted=False).values.min()))


@torch.no_grad()
def share_above(reader: Reader, bound: Float[Tensor, "*feature"]) -> float:
    """About which share of the readings are above `bound`."""
    return float((reader.sample(SAMPLE_STEPS).read() > bound).float().mean())


def larger(
    pre: Shaped[np.ndarray, "step feature"], bound: float | Shaped[np.ndarray, "*feature"]
) -> Int[np.ndarray, " entry"]:
    """The places of the readings above `bound`. NaN is above."""
    return np.flatnonzero(~(pre <= bound))


def largest(values: Shaped[np.ndarray, " entry"], count: int) -> Int[np.ndarray, " kept"]:
    """Which are the `count` largest, in order; all where there are no more. NaN is largest."""
    surplus = len(values) - count
    if surplus <= 0:
        return np.arange(len(values))
    cut = np.partition(values, surplus)[surplus]
    kept = ~(values < cut)
    ties = np.flatnonzero(values == cut)
    kept[ties[: np.count_nonzero(kept) - count]] = False
    return np.flatnonzero(kept)


def largest_per_step(pre: Shaped[np.ndarray, "step feature"], k: int) -> Int[np.ndarray, " entry"]:
    """The places of the `k` largest positive readings of each step. NaN is largest."""
    steps, width = pre.shape
    # The k-th largest of the maxima of groups is below the k largest readings.
    groups = min(width, GROUPS * k)
    size = width // groups
    grouped = torch.from_numpy(pre[:, : groups * size]).view(steps, size, groups)
    bound = np.partition(grouped.amax(1).numpy(), groups - k, axis=1)[:, groups - k]
    is_candidate = pre >= np.maximum(bound, np.finfo(pre.dtype).tiny)[:, None]
    # A feature whose weights are NaN reads NaN at every step, and must not be passed over.
    if np.isnan(pre[-1]).any():
        is_candidate |= np.isnan(pre)
    flat = np.flatnonzero(is_candidate)
    # One row of candidates per step, filled up with −∞.
    counts = np.bincount(flat // width, minlength=steps)
    most = max(k, counts.max())
    is_there = np.arange(most) < counts[:, None]
    readings = np.full(is_there.shape, -np.inf, pre.dtype)
    readings[is_there] = pre.ravel()[flat]
    places = np.full(is_there.shape, -1)
    places[is_there] = flat
    best = np.argpartition(readings, most - k, axis=1)[:, most - k :]
    found = np.take_along_axis(places, best, axis=1).ravel()
    return found[found >= 0]
