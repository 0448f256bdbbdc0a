"""How well a rule tells when a feature fires, on episodes that had no part in making it.

1. Event: the feature fires; or, if it fires on more than 30 % of the steps, fires above its
   training 90th percentile.
2. Precision and recall of the rule, and the AUROC of its margin, are measured on the held-out
   episodes. The margin is by how many training quantiles the least satisfied condition holds.

Whoever makes a rule, a search or a language model, is judged alike.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float

from policyscope.errors import InvalidInput, NotFinite
from policyscope.features.condition import Condition, Rule
from policyscope.features.label import Evidence, Label
from policyscope.statistics.detection import roc

# A feature that fires more often than this is labelled by its strong firing.
DENSE = 0.3
STRONG_QUANTILE = 0.9
# Fewer training steps or episodes with the target, and a rule would describe an accident.
FEWEST_STEPS = 10
FEWEST_TRAINING_EPISODES = 2
# A rule whose graded score ranks held-out steps no better than this is not told as one.
WORST_AUROC = 0.55
BY_CHANCE = "no better than chance on held-out episodes"


@dataclass(frozen=True)
class Target:
    """The event that a rule predicts: `code > threshold`."""

    threshold: float
    text: str


@dataclass(frozen=True, eq=False)
class Fired:
    """Where one feature hits its target: on the training steps, and on the held-out ones."""

    target: Target
    train: Bool[np.ndarray, " train"]
    held_out: Bool[np.ndarray, " held_out"]


@dataclass(frozen=True, eq=False)
class Judge:
    """Judges rules over the metrics of some evidence."""

    evidence: Evidence

    @cached_property
    def ordered(self) -> Float[np.ndarray, "train metric"]:
        """The training values of every metric, ascending."""
        return np.sort(self.evidence.metrics[~self.evidence.held_out].astype(np.float64), axis=0)

    def fired(self, codes: Float[np.ndarray, " step"]) -> Fired | Label:
        """When a feature fires; a label that says why not, where no rule can be found for it."""
        check(codes, self.evidence)
        if codes.max() <= 0:
            return nothing("never active", f"not once in {len(codes):,} steps")
        if codes.max() == codes.min():
            return nothing("always equally active", f"{codes.max():g} on every step")
        held_out = self.evidence.held_out
        target = choose_target(codes[~held_out])
        fires = codes > target.threshold
        seen = np.unique(self.evidence.episode[fires & ~held_out])
        found = Fired(target, fires[~held_out], fires[held_out])
        if found.train.sum() < FEWEST_STEPS or len(seen) < FEWEST_TRAINING_EPISODES:
            steps = f"{int(found.train.sum())} steps in {len(seen)} episodes"
            return nothing("too rarely active to label", f"{steps} to learn from", target.text)
        return found

    def score(self, text: str, rule: Rule, fired: Fired, source: str = "rules") -> Label:
        """A rule as a label with its scores on the held-out episodes."""
        event = fired.held_out
        support, base = int(event.sum()), float(event.mean())
        episodes = len(np.unique(self.evidence.episode[self.evidence.held_out][event]))

        def label(precision: float, recall: float, auroc: float, note: str) -> Label:
            return Label(
                text, str(rule), precision, recall, auroc, fired.target.text, support, episodes,
                base, note, source=source,
            )  # fmt: skip

        if support in (0, len(event)):
            often = "none" if support == 0 else "all"
            steps = f"{often} of the {len(event):,} held-out steps have {fired.target.text}"
            return label(math.nan, math.nan, math.nan, f"{steps}; not scored")
        columns = [self.evidence.names.index(one.metric) for one in rule.conditions]
        values = self.evidence.metrics[self.evidence.held_out][:, columns].astype(np.float64)
        parts = list(zip(rule.conditions, values.T, self.ordered.T[columns], strict=True))
        holds = np.all([one.holds(value) for one, value, _ in parts], axis=0)
        margin = np.min([graded(*part) for part in parts], axis=0)
        hits, claimed = int((holds & event).sum()), int(holds.sum())
        precision = hits / claimed if claimed else math.nan
        auroc = roc(margin, event).area
        note = "" if claimed else "the rule never holds on the held-out steps"
        if claimed and (auroc < WORST_AUROC or precision <= base):
            note = BY_CHANCE
        return label(precision, hits / support, auroc, note)


def check(codes: Float[np.ndarray, " step"], evidence: Evidence) -> None:
    """Raises InvalidInput for codes of other steps than the evidence, NotFinite for NaN or Inf."""
    if len(codes) != len(evidence.episode):
        raise InvalidInput(
            f"Got {len(codes)} activations for {len(evidence.episode)} steps of metrics; "
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


def graded(
    condition: Condition,
    values: Float[np.ndarray, " step"],
    ordered: Float[np.ndarray, " train"],
) -> Float[np.ndarray, " step"]:
    """By how many training quantiles each value satisfies the condition."""
    rank = np.searchsorted(ordered, values, side="right") / len(ordered)
    low, high = np.searchsorted(ordered, [condition.low, condition.high], side="right") / len(
        ordered
    )
    above = np.inf if np.isinf(condition.low) else rank - low
    below = np.inf if np.isinf(condition.high) else high - rank
    return np.minimum(above, below)
