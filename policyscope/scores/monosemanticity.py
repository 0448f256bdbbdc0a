"""Monosemanticity: how well one metric alone tells when a feature fires, and a raw unit likewise.

A feature that stands for one thing fires where one metric says so, and nowhere else. So, for every
feature and by the same rule for every unit of the site that its dictionary writes:

1. Its event: it fires; or, if it fires in more than 30 % of the steps, is in its highest 10 %. Both
   tails of a number with two signs are tried.
2. Each metric alone predicts the event by the share of training steps that have it in each of 32
   bins of the metric, so that a threshold, a band and a single value serve alike. A metric that is
   unknown is in a bin of its own.
3. The metric and tail with the best AUROC in training are kept; the score is their AUROC on other
   episodes: 0.5 by chance, 1 if the metric tells it exactly.

Rare events are easier to tell than common ones, and features are rare where units are not. So the
units are asked at the features' own rates: the lower quartile, the median and the upper quartile of
them, averaged. The interval of the difference of medians resamples held-out episodes.

(Features are compared with units by one and the same number as Pach et al. 2025, arXiv 2504.02821,
do it; their number is the likeness of images in another network's eyes, for which agents have
metrics. To tell a unit's events by one variable is k = 1 of Gurnee et al. 2023, arXiv 2305.01610,
the other way about.)
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from policyscope.document import strict
from policyscope.errors import NotEnoughData
from policyscope.progress import track
from policyscope.statistics.episodes import FEWEST_EPISODES, GROUPS, hold_out, resample
from policyscope.statistics.estimate import Estimate, estimate_of

# As in rule labels: what fires more often is judged by its strong firing.
MOSTLY = 0.3
STRONG = 0.1
BINS = 32
HELD_OUT = 0.5
RATES = (0.25, 0.5, 0.75)
REPLICATES = 300
# Fewer steps or episodes with the event, and a metric is chosen by accident.
FEWEST_STEPS = 10
FEWEST_TRAINING_EPISODES = 2
COLUMNS_AT_ONCE = 128


@dataclass(frozen=True, eq=False)
class Monosemanticity:
    """The held-out AUROC of the best single metric, of every feature and every unit.

    NaN for what fires too rarely to be judged. `metric` is the best one of each feature, -1 where
    there is none.
    """

    features: Float[np.ndarray, " feature"]
    units: Float[np.ndarray, " unit"]
    metric: Int[np.ndarray, " feature"]
    names: tuple[str, ...]
    difference: Estimate
    """Median over features less median over units."""

    @property
    def median_of_features(self) -> float:
        """Over the features that could be judged."""
        return float(median_known(self.features[None])[0])

    @property
    def median_of_units(self) -> float:
        """Over the units that could be judged."""
        return float(median_known(self.units[None])[0])

    def to_json(self) -> dict[str, Any]:
        """The entry of `score --json`."""
        return {
            "features": self.median_of_features,
            "units": self.median_of_units,
            "difference": self.difference.value,
            "low": strict(self.difference.low),
            "high": strict(self.difference.high),
            "episodes": self.difference.episodes,
            "features_judged": int(np.isfinite(self.features).sum()),
            "units_judged": int(np.isfinite(self.units).sum()),
            "per_feature": strict(self.features),
            "per_unit": strict(self.units),
            "metric_per_feature": [self.names[m] if m >= 0 else None for m in self.metric],
        }

    def __repr__(self) -> str:
        return (
            f"Monosemanticity(features {self.median_of_features:.3f}, units "
            f"{self.median_of_units:.3f}, difference {self.difference})"
        )


def monosemanticity(
    codes: Float[np.ndarray, "step feature"],
    units: Float[np.ndarray, "step unit"],
    metrics: Float[np.ndarray, "step metric"],
    episode: Int[np.ndarray, " step"],
    names: tuple[str, ...],
    *,
    seed: int = 0,
) -> Monosemanticity:
    """How well one metric alone tells when features fire, beside when units do.

    NotEnoughData under eight episodes, where no metric varies, and where no feature or no unit
    fires often enough to be judged.
    """
    judge = Judge.of(metrics, episode, hold_out(episode, HELD_OUT, seed), seed)
    rates = event_rates(codes[judge.is_training])
    with track("judging features", codes.shape[1] + units.shape[1], "columns") as progress:
        ours, metric = judge.judge(codes, rates[:, None], progress.advance)
        known = np.isfinite(ours[0])
        if not known.any():
            raise NotEnoughData("No feature fires in enough episodes for a metric to tell when.")
        usual = np.quantile(rates[known], RATES)
        theirs, _ = judge.judge(units, np.tile(usual, (units.shape[1], 1)), progress.advance)
    if not np.isfinite(theirs[0]).any():
        raise NotEnoughData("No unit varies enough for a metric to tell when.")
    difference = median_known(ours) - median_known(theirs)
    return Monosemanticity(
        features=ours[0],
        units=theirs[0],
        metric=np.where(known, metric, -1),
        names=names,
        difference=estimate_of(float(difference[0]), difference[1:], judge.episodes),
    )


def median_known(values: Float[np.ndarray, "row column"]) -> Float[np.ndarray, " row"]:
    """The median of each row over what is not NaN; NaN where nothing is."""
    ordered = np.sort(values, axis=1)  # NaN sorts last
    known = np.isfinite(ordered).sum(axis=1)
    middle = [
        np.take_along_axis(ordered, np.maximum(place, 0)[:, None], 1)[:, 0]
        for place in ((known - 1) // 2, known // 2)
    ]
    return np.where(known > 0, (middle[0] + middle[1]) / 2, np.nan)


def event_rates(codes: Float[np.ndarray, "step feature"]) -> Float[np.ndarray, " feature"]:
    """In which share of steps each feature's event is to happen."""
    firing = np.count_nonzero(codes, axis=0) / len(codes)
    return np.where(firing > MOSTLY, STRONG, firing)


@dataclass(frozen=True, eq=False)
class Judge:
    """The metrics as bins, and how often each group of held-out episodes counts in a replicate.

    The first replicate is the data itself.
    """

    bins: Int[np.ndarray, "metric step"]
    is_training: Bool[np.ndarray, " step"]
    episode: Int[np.ndarray, " step"]
    group: Int[np.ndarray, " held_out"]
    weights: Float[np.ndarray, "replicate group"]
    episodes: int
    """Held-out ones."""

    @classmethod
    def of(
        cls,
        metrics: Float[np.ndarray, "step metric"],
        episode: Int[np.ndarray, " step"],
        held_out: Bool[np.ndarray, " step"],
        seed: int,
    ) -> "Judge":
        """The judge of steps with these metrics; metrics that do not vary say nothing."""
        episodes = len(np.unique(episode[held_out]))
        if episodes < FEWEST_EPISODES:
            raise NotEnoughData(
                f"{episodes} episodes are held out; an interval needs {FEWEST_EPISODES}. "
                "Record more episodes."
            )
        bins = np.stack([cut(column, ~held_out) for column in metrics.T]) if metrics.size else None
        if bins is None or not (bins.max(axis=1) > 0).any():
            raise NotEnoughData(
                "There is no metric that varies, so none can tell when a feature fires. Record "
                "some: --metric."
            )
        groups, group = np.unique(episode[held_out] % GROUPS, return_inverse=True)
        drawn = resample(len(groups), REPLICATES, seed)
        weights = np.concatenate([np.ones((1, len(groups))), drawn])
        return cls(bins, ~held_out, episode, group, weights, episodes)

    def judge(
        self,
        values: Float[np.ndarray, "step column"],
        rates: Float[np.ndarray, "column rate"],
        advance: Any,
    ) -> tuple[Float[np.ndarray, "replicate column"], Int[np.ndarray, " column"]]:
        """The AUROC of each column in every replicate, mean over `rates`, and its best metric."""
        areas, metric = [], []
        for first in range(0, values.shape[1], COLUMNS_AT_ONCE):
            part = slice(first, first + COLUMNS_AT_ONCE)
            columns = np.ascontiguousarray(values[:, part])
            each = [self.judge_at(columns, rate) for rate in rates[part].T]
            areas.append(np.mean([area for area, _ in each], axis=0))
            metric.append(each[0][1])
            advance(columns.shape[1])
        return np.concatenate(areas, axis=1), np.concatenate(metric)

    def judge_at(
        self, columns: Float[np.ndarray, "step column"], rate: Float[np.ndarray, " column"]
    ) -> tuple[Float[np.ndarray, "replicate column"], Int[np.ndarray, " column"]]:
        """As `judge`, with one rate for each column."""
        lower, upper = tails(columns[self.is_training], rate)
        sides = [columns > upper, columns < lower]
        found = [self.best_metric(events) for events in sides]
        is_lower = found[1][1] > found[0][1]
        events = np.where(is_lower, sides[1], sides[0])
        metric = np.where(is_lower, found[1][0], found[0][0])
        train_area = np.where(is_lower, found[1][1], found[0][1])
        areas = self.held_out_area(events, metric)
        areas[:, train_area <= 0] = np.nan
        return areas, metric

    def best_metric(
        self, events: Bool[np.ndarray, "step column"]
    ) -> tuple[Int[np.ndarray, " column"], Float[np.ndarray, " column"]]:
        """The metric that tells each column's events best in training; AUROC -1 where rare."""
        chosen = events[self.is_training]
        step, column = np.nonzero(chosen)
        count = events.shape[1]
        areas = np.empty((len(self.bins), count))
        for metric, bins in enumerate(self.bins[:, self.is_training]):
            total = np.bincount(bins, minlength=BINS + 1)
            hits = np.bincount(bins[step] * count + column, minlength=(BINS + 1) * count)
            hits = hits.reshape(-1, count).T
            order = ranking(hits, total)
            areas[metric] = area(
                np.take_along_axis(hits, order, 1),
                np.take_along_axis(total - hits, order, 1),
            )
        metric = np.nan_to_num(areas, nan=-1.0).argmax(axis=0)
        best = np.take_along_axis(np.nan_to_num(areas, nan=-1.0), metric[None], 0)[0]
        _, episode = np.unique(self.episode[self.is_training], return_inverse=True)
        pairs = np.unique(episode[step] * count + column)
        seen = np.bincount(pairs % count, minlength=count)
        is_rare = (chosen.sum(axis=0) < FEWEST_STEPS) | (seen < FEWEST_TRAINING_EPISODES)
        return metric, np.where(is_rare, -1.0, best)

    def held_out_area(
        self, events: Bool[np.ndarray, "step column"], metric: Int[np.ndarray, " column"]
    ) -> Float[np.ndarray, "replicate column"]:
        """The AUROC of each column's own metric on the held-out steps, in every replicate."""
        training, held_out = events[self.is_training], events[~self.is_training]
        count, groups = events.shape[1], self.weights.shape[1]
        areas = np.full((len(self.weights), count), np.nan)
        for chosen in np.unique(metric):
            mine = np.flatnonzero(metric == chosen)
            bins, later = self.bins[chosen][self.is_training], self.bins[chosen][~self.is_training]
            total = np.bincount(bins, minlength=BINS + 1)
            hits = np.stack(
                [np.bincount(bins[training[:, one]], minlength=BINS + 1) for one in mine]
            )
            order = ranking(hits, total)
            place = self.group * (BINS + 1) + later
            steps = np.bincount(place, minlength=groups * (BINS + 1)).reshape(groups, BINS + 1)
            drawn = self.weights @ steps
            for row, one in enumerate(mine):
                fired = np.bincount(place[held_out[:, one]], minlength=groups * (BINS + 1))
                caught = self.weights @ fired.reshape(groups, BINS + 1)
                areas[:, one] = area(caught[:, order[row]], (drawn - caught)[:, order[row]])
        return areas


def tails(
    values: Float[np.ndarray, "step column"], rate: Float[np.ndarray, " column"]
) -> tuple[Float[np.ndarray, " column"], Float[np.ndarray, " column"]]:
    """What each column lies below and above in a share `rate` of the steps; in fewer for ties."""
    ordered, last = np.sort(values, axis=0), len(values) - 1
    place = np.floor((1 - rate) * last).astype(np.intp)
    lower, upper = (np.take_along_axis(ordered, at[None], 0)[0] for at in (last - place, place))
    return lower, upper


def cut(
    metric: Float[np.ndarray, " step"], is_training: Bool[np.ndarray, " step"]
) -> Int[np.ndarray, " step"]:
    """The bin of every step: quantiles of the training steps, and one for the unknown."""
    known = metric[is_training & np.isfinite(metric)]
    if len(known) == 0:
        return np.zeros(len(metric), np.int64)
    edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1], method="lower"))
    bins = np.searchsorted(edges, metric, side="left")
    return np.where(np.isfinite(metric), bins, BINS)


def ranking(
    hits: Int[np.ndarray, "column bin"], total: Int[np.ndarray, " bin"]
) -> Int[np.ndarray, "column bin"]:
    """The bins from the least to the most likely to have the event, as training saw it."""
    # A bin that training never saw is as likely as any.
    usual = hits.sum(1, keepdims=True) / max(int(total.sum()), 1)
    return np.argsort((hits + usual) / (total + 1), axis=1, kind="stable")


def area(
    events: Float[np.ndarray, "row bin"] | Int[np.ndarray, "row bin"],
    others: Float[np.ndarray, "row bin"] | Int[np.ndarray, "row bin"],
) -> Float[np.ndarray, " row"]:
    """AUROC of bins from the least likely on, ties within a bin counting half; NaN if one-sided."""
    below = np.cumsum(others, axis=1) - others
    pairs = events.sum(1).astype(np.float64) * others.sum(1)
    right = (events * (below + 0.5 * others)).sum(1)
    return right / np.where(pairs > 0, pairs, np.nan)
