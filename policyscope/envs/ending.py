"""How an episode ended, by name: the failure modes of an environment."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Shaped

Classifier = Callable[[Shaped[np.ndarray, "..."], bool], str]
"""Takes the final observation of one episode and whether it terminated; returns the ending."""

ENDINGS: dict[str, tuple[tuple[str, ...], Classifier]] = {}


def ending(*environments: str, names: tuple[str, ...]) -> Callable[[Classifier], Classifier]:
    """Makes the decorated function name the endings of these environments, out of `names`."""

    def register(classify: Classifier) -> Classifier:
        for environment in environments:
            ENDINGS[environment] = (names, classify)
        return classify

    return register


def endings_of(environment: str) -> tuple[str, ...]:
    """Every ending an episode of this environment can have."""
    return ENDINGS[environment][0] if environment in ENDINGS else ("terminated", "truncated")


def name_ending(environment: str, observation: Shaped[np.ndarray, "..."], terminated: bool) -> str:
    """The ending of one episode, from its final observation."""
    if environment in ENDINGS:
        return ENDINGS[environment][1](observation, terminated)
    return "terminated" if terminated else "truncated"
