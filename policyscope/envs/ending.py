"""How an episode ended, by name: the failure modes of an environment."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
from jaxtyping import Shaped

Classifier = Callable[..., str]
"""Takes the final observation of one episode and whether it terminated; returns the ending.

One with a third parameter is also given the last reward, NaN where nobody kept it.
"""


@dataclass(frozen=True)
class Endings:
    """The endings of some environments, and how to tell which one it was."""

    names: tuple[str, ...]
    classify: Classifier
    takes_reward: bool


ENDINGS: dict[str, Endings] = {}
"""By the id of the environment, or a pattern where `*` stands for anything."""


def ending(*environments: str, names: tuple[str, ...]) -> Callable[[Classifier], Classifier]:
    """Makes the decorated function name the endings of these environments, out of `names`."""

    def register(classify: Classifier) -> Classifier:
        takes_reward = len(inspect.signature(classify).parameters) > 2
        for environment in environments:
            ENDINGS[environment] = Endings(names, classify, takes_reward)
        return classify

    return register


def endings_of(environment: str) -> tuple[str, ...]:
    """Every ending an episode of this environment can have."""
    known = find_endings(environment)
    return known.names if known else ("terminated", "truncated")


def name_ending(
    environment: str,
    observation: Shaped[np.ndarray, "..."] | dict[str, np.ndarray],
    terminated: bool,
    reward: float = float("nan"),
) -> str:
    """The ending of one episode, from its final observation and last reward."""
    known = find_endings(environment)
    if known is None:
        return "terminated" if terminated else "truncated"
    if known.takes_reward:
        return known.classify(observation, terminated, reward)
    return known.classify(observation, terminated)


def find_endings(environment: str) -> Endings | None:
    """What is known of this environment: by its id first, else by the latest pattern that fits."""
    if environment in ENDINGS:
        return ENDINGS[environment]
    fitting = [known for pattern, known in ENDINGS.items() if fnmatchcase(environment, pattern)]
    return fitting[-1] if fitting else None
