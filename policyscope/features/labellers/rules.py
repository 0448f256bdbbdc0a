"""Labels as short rules over metrics, found on some episodes and scored on others.

1. A conjunction is grown greedily to the best F1 on the training episodes and each condition is
   then fitted again given the others. Thresholds are training quantiles, rounded as they are
   printed; each has to earn 2 points of F1, and there are three at most.
2. A condition must agree with its evidence: `m > t` is considered only if m is higher on average
   where the feature fires than overall, and is called high only if m then lies above neutral. A
   band `a < m <= b` is considered only if m varies less where the feature fires than overall.

What counts as firing, and how a rule is scored, is in `policyscope/features/detection.py`.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from policyscope.envs.metric import Words
from policyscope.features.condition import Condition, Rule, Scale, say
from policyscope.features.detection import BY_CHANCE, Fired, Judge, nothing
from policyscope.features.label import LABELLERS, UNCLEAR, Evidence, Label
from policyscope.progress import track

MOST_THRESHOLDS = 3
THRESHOLD_COST = 0.02
# Recall minus false-alarm rate in training below which a rule explains too little to be a label.
CLEAR = 0.25
QUANTILES = np.array(
    [0.001, 0.005, 0.01, 0.02, 0.04, *np.linspace(0.06, 0.94, 23), 0.96, 0.98, 0.99, 0.995, 0.999]
)
# Features copied out at a time: one column of a wide matrix touches every line of it.
FEATURES_AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class Axis:
    """One metric cut into bins at the thresholds that rules may use."""

    name: str
    edges: Float[np.ndarray, " edge"]
    train_bin: Int[np.ndarray, " train"]
    train: Float[np.ndarray, " train"]
    mean: float
    std: float
    words: Words
    scale: Scale

    def condition(self, first: int, last: int) -> Condition:
        """The condition that bins `first` … `last - 1` stand for."""
        low = float(self.edges[first - 1]) if first > 0 else -np.inf
        high = float(self.edges[last - 1]) if last <= len(self.edges) else np.inf
        return Condition(self.name, low, high)


@dataclass(frozen=True, eq=False)
class Found:
    """A run of bins of one axis and what it is worth: F1 minus the cost of its thresholds."""

    axis: int
    first: int
    last: int
    worth: float
    thresholds: int


@LABELLERS.register("rules")
class RuleLabeller:
    """Labels features of one recording by rules over its metrics."""

    def __init__(self, evidence: Evidence) -> None:
        self.judge = Judge(evidence)
        self.axes = [cut_axis(evidence, column) for column in range(len(evidence.names))]

    def label_all(self, codes: Float[np.ndarray, "step feature"]) -> tuple[Label, ...]:
        """The labels of all features."""
        labels: list[Label] = []
        with track("labelling features", codes.shape[1], "features") as progress:
            for first in range(0, codes.shape[1], FEATURES_AT_ONCE):
                columns = np.ascontiguousarray(codes[:, first : first + FEATURES_AT_ONCE].T)
                for column in columns:
                    labels.append(self.label(column))
                    progress.advance()
        return tuple(labels)

    def label(self, codes: Float[np.ndarray, " step"]) -> Label:
        """The label of the feature whose activations are `codes`."""
        fired = self.judge.fired(codes)
        if isinstance(fired, Label):
            return fired
        found = search(self.axes, fired.train)
        if not found:
            return nothing(UNCLEAR, "no condition helps", fired.target.text)
        return self._describe(found, fired)

    def _describe(self, found: list[Found], fired: Fired) -> Label:
        axes = [self.axes[part.axis] for part in found]
        conditions = [
            axis.condition(part.first, part.last) for axis, part in zip(axes, found, strict=True)
        ]
        text = " and ".join(
            say(condition, axis.words, axis.scale)
            for axis, condition in zip(axes, conditions, strict=True)
        )
        if youden(predicted(self.axes, found), fired.train) < CLEAR:
            text = f"{UNCLEAR}; the best is {text}"
        label = self.judge.score(text, Rule(tuple(conditions)), fired)
        if label.note == BY_CHANCE:
            return replace(label, text=f"{UNCLEAR}; the best, {text}, does not hold")
        return label


def cut_axis(evidence: Evidence, column: int) -> Axis:
    """One metric with its thresholds: training quantiles, rounded to what is worth printing."""
    values = evidence.metrics[:, column].astype(np.float64)
    train = values[~evidence.held_out]
    spread = float(train.std())
    decimals = 1 - math.floor(math.log10(spread)) if spread > 0 else 0
    edges = np.unique(np.round(np.quantile(train, QUANTILES), decimals))
    # Adding zero turns -0.0 into 0.0, which prints without its sign.
    edges = edges[(edges >= train.min()) & (edges < train.max())] + 0.0
    words = evidence.words_for(evidence.names[column])
    return Axis(
        name=evidence.names[column],
        edges=edges,
        train_bin=np.searchsorted(edges, train, side="left").astype(np.int16),
        train=train,
        mean=float(train.mean()),
        std=spread,
        words=words,
        scale=Scale.of(train, words.neutral),
    )


def search(axes: list[Axis], fires: Bool[np.ndarray, " train"]) -> list[Found]:
    """The conditions of the best rule found, in the order in which they were chosen."""
    allowed = [agreeing(axis, fires) for axis in axes]
    base = float(fires.mean())
    worth = 2 * base / (1 + base)  # F1 of the empty rule, which always holds
    chosen: list[Found] = []
    while True:
        free = MOST_THRESHOLDS - sum(part.thresholds for part in chosen)
        taken = {part.axis for part in chosen}
        inside = predicted(axes, chosen)
        spent = THRESHOLD_COST * (MOST_THRESHOLDS - free)
        options = [
            best_run(axes[i], i, allowed[i], inside, fires, free)
            for i in range(len(axes))
            if free > 0 and i not in taken
        ]
        best = max(options, key=lambda option: option.worth, default=None)
        if best is None or best.worth - spent <= worth:
            return chosen
        chosen, worth = [*chosen, best], best.worth - spent
        if len(chosen) > 1:
            chosen, worth = refit(axes, allowed, chosen, fires, worth)


def refit(
    axes: list[Axis],
    allowed: list[Bool[np.ndarray, "_ _"]],
    chosen: list[Found],
    fires: Bool[np.ndarray, " train"],
    worth: float,
) -> tuple[list[Found], float]:
    """Each condition fitted again on its axis given the others, kept where that is better."""
    for place, part in enumerate(chosen):
        others = chosen[:place] + chosen[place + 1 :]
        used = sum(other.thresholds for other in others)
        inside = predicted(axes, others)
        free = MOST_THRESHOLDS - used
        better = best_run(axes[part.axis], part.axis, allowed[part.axis], inside, fires, free)
        if better.worth - THRESHOLD_COST * used > worth:
            chosen = [*chosen[:place], better, *chosen[place + 1 :]]
            worth = better.worth - THRESHOLD_COST * used
    return chosen, worth


def predicted(axes: list[Axis], chosen: list[Found]) -> Bool[np.ndarray, " train"]:
    """The training steps on which all conditions hold."""
    holds = np.ones(len(axes[0].train_bin), bool)
    for part in chosen:
        bins = axes[part.axis].train_bin
        holds &= (bins >= part.first) & (bins < part.last)
    return holds


def best_run(
    axis: Axis,
    index: int,
    allowed: Bool[np.ndarray, "first last"],
    inside: Bool[np.ndarray, " train"],
    fires: Bool[np.ndarray, " train"],
    free: int,
) -> Found:
    """The run of bins worth most among the steps `inside`, with at most `free` thresholds."""
    bins = len(axis.edges) + 1
    total = np.append(0, np.cumsum(np.bincount(axis.train_bin[inside], minlength=bins)))
    hits = np.append(0, np.cumsum(np.bincount(axis.train_bin[inside & fires], minlength=bins)))
    hit = hits[None, :] - hits[:, None]
    claimed = total[None, :] - total[:, None]
    f1 = 2 * hit / (np.maximum(claimed, 0) + fires.sum())
    thresholds = count_thresholds(bins)
    usable = allowed & (thresholds <= free) & (thresholds > 0) & (hit > 0)
    worth = np.where(usable, f1 - THRESHOLD_COST * thresholds, -np.inf)
    first, last = np.unravel_index(int(worth.argmax()), worth.shape)
    found = float(worth[first, last])
    return Found(index, int(first), int(last), found, int(thresholds[first, last]))


def count_thresholds(bins: int) -> Int[np.ndarray, "first last"]:
    """How many finite bounds the run from bin `first` up to before bin `last` has."""
    edge = np.arange(bins + 1)
    return (edge[:, None] > 0).astype(np.int64) + (edge[None, :] < bins)


def agreeing(axis: Axis, fires: Bool[np.ndarray, " train"]) -> Bool[np.ndarray, "first last"]:
    """Which runs of bins do not contradict the evidence; see step 2 above."""
    active = axis.train[fires]
    mean, neutral = active.mean(), axis.words.neutral
    bound = np.concatenate([[-np.inf], axis.edges, [np.inf]])
    low, high = bound[:, None], bound[None, :]
    is_lower, is_upper = np.isfinite(low), np.isfinite(high)
    contradicts = (
        (low >= high)
        | (is_lower & ~is_upper & (mean <= axis.mean))
        | (is_upper & ~is_lower & (mean >= axis.mean))
        | (is_lower & is_upper & (active.std() >= axis.std))
        | (is_lower & (low >= neutral) & (mean <= neutral))
        | (is_upper & (high <= neutral) & (mean >= neutral))
    )
    return ~contradicts


def youden(claimed: Bool[np.ndarray, " train"], fires: Bool[np.ndarray, " train"]) -> float:
    """Recall minus the false-alarm rate."""
    return float(claimed[fires].mean() - claimed[~fires].mean())
