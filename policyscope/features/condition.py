"""One condition of a rule, `low < metric <= high`, and the words a person says for it."""

import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from policyscope.envs.metric import Words

PLACE = re.compile(r"\{(\w+)\}")


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
