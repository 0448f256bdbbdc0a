"""Labels as short rules over metrics, found on some episodes and scored on others.

1. Target: the feature fires; or, if it fires on more than 30 % of the steps, fires above its
   training 90th percentile.
2. A conjunction is grown greedily to the best F1 on the training episodes and each condition is
   then fitted again given the others. Thresholds are training quantiles, rounded as they are
   printed; each has to earn 2 points of F1, and there are three at most.
3. A condition must agree with its evidence: `m > t` is considered only if m is higher on average
   where the feature fires than overall, and is called high only if m then lies above neutral. A
   band `a < m <= b` is considered only if m varies less where the feature fires than overall.
4. Precision, recall and AUROC are measured on the held-out episodes. The score behind the AUROC is
   the margin, in training quantiles, by which the least satisfied condition holds.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from policyscope.envs.metric import Words
from policyscope.errors import InvalidInput, NotFinite
from policyscope.features.condition import Condition, Scale, say
from policyscope.features.label import LABELLERS, Evidence, Label
from policyscope.progress import track
from policyscope.statistics.detection import roc

# A feature that fires more often than this is labelled by its strong firing.
DENSE = 0.3
STRONG_QUANTILE = 0.9
# Fewer training steps or episodes with the target, and a rule would describe an accident.
FEWEST_STEPS = 10
FEWEST_TRAINING_EPISODES = 2
MOST_THRESHOLDS = 3
THRESHOLD_COST = 0.02
# Recall minus false-alarm rate in training below which a rule explains too little to be a label.
CLEAR = 0.25
# A rule whose graded score ranks held-out steps no better than this is not told as one.
WORST_AUROC = 0.55
QUANTILES = np.array(
    [0.001, 0.005, 0.01, 0.02, 0.04, *np.linspace(0.06, 0.94, 23), 0.96, 0.98, 0.99, 0.995, 0.999]
)
# Features copied out at a time: one column of a wide matrix touches every line of it.
FEATURES_AT_ONCE = 64


@dataclass(frozen=True)
class Target:
    """The event that a rule predicts: `code > threshold`."""

    threshold: float
    text: str


@dataclass(frozen=True, eq=False)
class Axis:
    """One metric cut into bins at the thresholds that rules may use."""

    name: str
    edges: Float[np.ndarray, " edge"]
    train_bin: Int[np.ndarray, " train"]
    train: Float[np.ndarray, " train"]
    ordered: Float[np.ndarray, " train"]
    held_out: Float[np.ndarray, " held_out"]
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
        self.evidence = evidence
        self.held_out = evidence.held_out
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
        self._check(codes)
        if codes.max() <= 0:
            return nothing("never active", f"not once in {len(codes):,} steps")
        if codes.max() == codes.min():
            return nothing("always equally active", f"{codes.max():g} on every step")
        target = choose_target(codes[~self.held_out])
        fires = codes > target.threshold
        train_fires, held_fires = fires[~self.held_out], fires[self.held_out]
        seen = np.unique(self.evidence.episode[fires & ~self.held_out])
        if train_fires.sum() < FEWEST_STEPS or len(seen) < FEWEST_TRAINING_EPISODES:
            steps = f"{int(train_fires.sum())} steps in {len(seen)} episodes"
            return nothing("too rarely active to label", f"{steps} to learn from", target.text)
        found = search(self.axes, train_fires)
        if not found:
            return nothing("no clear rule over these metrics", "no condition helps", target.text)
        return self._describe(found, target, train_fires, held_fires)

    def _describe(
        self,
        found: list[Found],
        target: Target,
        train_fires: Bool[np.ndarray, " train"],
        held_fires: Bool[np.ndarray, " held_out"],
    ) -> Label:
        axes = [self.axes[part.axis] for part in found]
        conditions = [
            axis.condition(part.first, part.last) for axis, part in zip(axes, found, strict=True)
        ]
        rule = " and ".join(map(str, conditions))
        text = " and ".join(
            say(condition, axis.words, axis.scale)
            for axis, condition in zip(axes, conditions, strict=True)
        )
        if youden(predicted(self.axes, found), train_fires) < CLEAR:
            text = f"no clear rule over these metrics; the best is {text}"
        support, episodes = self._support(held_fires)
        base = float(held_fires.mean())
        if support in (0, len(held_fires)):
            often = "none" if support == 0 else "all"
            note = (
                f"{often} of the {len(held_fires):,} held-out steps have {target.text}; not scored"
            )
            unknown = math.nan
            return Label(
                text, rule, unknown, unknown, unknown, target.text, support, episodes, base, note
            )
        margin = np.min([graded(axis, c) for axis, c in zip(axes, conditions, strict=True)], axis=0)
        holds = np.all(
            [c.holds(axis.held_out) for axis, c in zip(axes, conditions, strict=True)], axis=0
        )
        hits, claimed = int((holds & held_fires).sum()), int(holds.sum())
        precision = hits / claimed if claimed else math.nan
        note = "" if claimed else "the rule never holds on the held-out steps"
        auroc = roc(margin, held_fires).area
        recall = hits / support
        if claimed and (auroc < WORST_AUROC or precision <= base):
            text = f"no clear rule over these metrics; the best, {text}, does not hold"
            note = "no better than chance on held-out episodes"
        return Label(
            text, rule, precision, recall, auroc, target.text, support, episodes, base, note
        )

    def _support(self, held_fires: Bool[np.ndarray, " held_out"]) -> tuple[int, int]:
        episodes = self.evidence.episode[self.held_out][held_fires]
        return int(held_fires.sum()), len(np.unique(episodes))

    def _check(self, codes: Float[np.ndarray, " step"]) -> None:
        if len(codes) != len(self.evidence.episode):
            raise InvalidInput(
                f"Got {len(codes)} activations for {len(self.evidence.episode)} steps of metrics; "
                "both must come from the same steps."
            )
        if not np.isfinite(codes).all():
            raise NotFinite("The activations hold NaN or Inf; a label needs finite numbers.")


def nothing(text: str, note: str, target: str = "activation > 0") -> Label:
    """A label that says why there is no rule."""
    unknown = math.nan
    return Label(text, "", unknown, unknown, unknown, target, 0, 0, unknown, note)


def choose_target(codes: Float[np.ndarray, " train"]) -> Target:
    """What counts as firing: above zero, or above the 90th percentile for a dense feature."""
    if np.mean(codes > 0) <= DENSE:
        return Target(0.0, "activation > 0")
    strong = float(np.quantile(codes, STRONG_QUANTILE, method="lower"))
    if strong < codes.max():
        return Target(strong, f"activation > {strong:.3g} (its 90th percentile)")
    below = codes[codes < strong]
    threshold = float(below.max()) if len(below) else strong
    return Target(threshold, f"activation > {threshold:.3g} (only its maximum)")


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
        ordered=np.sort(train),
        held_out=values[evidence.held_out],
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
    """Which runs of bins do not contradict the evidence; see step 3 above."""
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


def graded(axis: Axis, condition: Condition) -> Float[np.ndarray, " held_out"]:
    """By how many training quantiles each held-out step satisfies the condition."""
    ordered = axis.ordered
    rank = np.searchsorted(ordered, axis.held_out, side="right") / len(ordered)
    low, high = np.searchsorted(ordered, [condition.low, condition.high], side="right") / len(
        ordered
    )
    above = np.inf if np.isinf(condition.low) else rank - low
    below = np.inf if np.isinf(condition.high) else high - rank
    return np.minimum(above, below)


def youden(claimed: Bool[np.ndarray, " train"], fires: Bool[np.ndarray, " train"]) -> float:
    """Recall minus the false-alarm rate."""
    return float(claimed[fires].mean() - claimed[~fires].mean())
