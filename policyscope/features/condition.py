"""One condition of a rule, `low < metric <= high`, and the words a person says for it."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from policyscope.envs.metric import Words
from policyscope.errors import InvalidInput, UnknownName

PLACE = re.compile(r"\{(\w+)\}")
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
# A name may hold anything but what stands between names.
NAME = r"[^\s<>=]+"
BOUND = re.compile(rf"({NAME})\s*(<=|>=|<|>|==?)\s*({NUMBER})")
BAND = re.compile(rf"({NUMBER})\s*(<=?)\s*({NAME})\s*(<=?)\s*({NUMBER})")
HAIR = 1e-5
"""The share of a bound by which it is moved to take a value in, or to leave it out."""


@dataclass(frozen=True)
class Condition:
    """`low < metric <= high`; an infinite bound is no bound."""

    metric: str
    low: float = -np.inf
    high: float = np.inf

    def holds(self, values: Float[np.ndarray, " step"]) -> Bool[np.ndarray, " step"]:
        """Where the condition is true."""
        return (values > self.low) & (values <= self.high)

    def __str__(self) -> str:
        if np.isinf(self.low):
            return f"{self.metric} <= {self.high:g}"
        if np.isinf(self.high):
            return f"{self.metric} > {self.low:g}"
        return f"{self.low:g} < {self.metric} <= {self.high:g}"


@dataclass(frozen=True)
class Rule:
    """Conditions that all hold."""

    conditions: tuple[Condition, ...]

    @classmethod
    def of(cls, conditions: Iterable[Condition]) -> "Rule":
        """The rule of these, one condition for each metric, with bounds as they are printed.

        InvalidInput for a condition that bounds nothing, and for bounds that nothing lies between.
        """
        bounds: dict[str, tuple[float, float]] = {}
        for one in conditions:
            low, high = bounds.get(one.metric, (-math.inf, math.inf))
            bounds[one.metric] = max(low, as_printed(one.low)), min(high, as_printed(one.high))
        for metric, (low, high) in bounds.items():
            if math.isnan(low) or math.isnan(high) or (math.isinf(low) and math.isinf(high)):
                raise InvalidInput(f"The condition on {metric} has no bound.")
            if low >= high:
                raise InvalidInput(f"No {metric} is above {low:g} and at most {high:g}.")
        if not bounds:
            raise InvalidInput("A rule needs at least one condition.")
        return cls(tuple(Condition(metric, *pair) for metric, pair in bounds.items()))

    @classmethod
    def parse(cls, text: str) -> "Rule":
        """The rule in a text such as `0.1 < x <= 2 and v > 1`, which is how a rule is printed.

        `x >= 1` becomes `x > 0.99999`: a rule leaves its lower bounds out and takes its upper in.
        """
        return cls.of(parse_condition(part) for part in re.split(r"\band\b|&&?|;", text))

    def check(self, known: Sequence[str]) -> None:
        """Raises UnknownName for a metric that is not among the known ones."""
        for one in self.conditions:
            if one.metric not in known:
                raise UnknownName.among("metric", one.metric, known)

    def __str__(self) -> str:
        return " and ".join(map(str, self.conditions))


def as_printed(bound: float) -> float:
    """The bound that a printed condition shows; what is scored must be what is read."""
    return float(f"{bound:g}")


def parse_condition(text: str) -> Condition:
    """One condition in words; InvalidInput where it is none."""
    said = text.strip().strip("()")
    if band := BAND.fullmatch(said):
        low, below, metric, above, high = band.groups()
        return Condition(
            metric,
            float(low) if below == "<" else under(low),
            under(high) if above == "<" else float(high),
        )
    if bound := BOUND.fullmatch(said):
        metric, sign, value = bound.groups()
        if sign in ("=", "=="):
            return Condition(metric, under(value), float(value))
        if sign.startswith(">"):
            return Condition(metric, float(value) if sign == ">" else under(value))
        return Condition(metric, high=float(value) if sign == "<=" else under(value))
    raise InvalidInput(f"{said!r} is no condition. Write it as x > 1, x <= 2, or 1 < x <= 2.")


def under(bound: str) -> float:
    """A bound just under a value, so that `> bound` takes the value in."""
    value = float(bound)
    return value - HAIR * (abs(value) or 1.0)


@dataclass(frozen=True)
class Scale:
    """Distances from neutral: closer than `near` is close, beyond `far` is far."""

    near: float
    far: float

    @classmethod
    def of(cls, values: Float[np.ndarray, " step"], neutral: float) -> "Scale":
        """The lower and the upper quarter of the distances from `neutral`."""
        near, far = np.quantile(np.abs(values - neutral), [0.25, 0.75])
        return cls(float(near), float(far))


def say(condition: Condition, words: Words, scale: Scale) -> str:
    """The condition in words, such as "cart far right" or "cart not far left"."""
    low, high = condition.low - words.neutral, condition.high - words.neutral
    if np.isinf(high):
        return say_bound(low, words.low, words.high, scale)
    if np.isinf(low):
        return say_bound(-high, words.high, words.low, scale)
    if low >= 0:
        return say_band(low, high, words.high, scale)
    if high <= 0:
        return say_band(-high, -low, words.low, scale)
    if max(-low, high) > scale.far:
        # Lopsided: what matters is the side on which the band ends first.
        if -low < high:
            return say_bound(low, words.low, words.high, scale)
        return say_bound(-high, words.high, words.low, scale)
    return f"{condition.metric.replace('_', ' ')} near {words.neutral:g}"


def say_bound(bound: float, away: str, toward: str, scale: Scale) -> str:
    """Words for lying beyond `bound`, measured from neutral in the direction of `toward`."""
    if bound >= scale.far:
        return fill(toward, far=True)
    if bound >= 0:
        return fill(toward)
    return fill(away, negated=True, far=-bound > scale.near)


def say_band(low: float, high: float, side: str, scale: Scale) -> str:
    """Words for lying between two distances from neutral on one side."""
    if low >= scale.far:
        return fill(side, far=True)
    adverb = next((word for word in PLACE.findall(side) if word != "not"), None)
    limit = f" but not {adverb}" if adverb and high <= scale.far else ""
    return fill(side) + limit


def fill(words: str, *, negated: bool = False, far: bool = False) -> str:
    """`words` with its places filled: {not} when negated, the adverb when far."""
    if negated and "{not}" not in words:
        words = "not " + words
    chosen = PLACE.sub(
        lambda match: match[1] if (negated if match[1] == "not" else far) else "", words
    )
    return " ".join(chosen.split())
