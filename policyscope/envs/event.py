"""An event: a named condition over metrics, such as "the pole tilts right"."""

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
from jaxtyping import Bool


@dataclass(frozen=True)
class Event:
    """A condition that is true or false at every step; `happens` reads the metrics it `needs`."""

    name: str
    needs: tuple[str, ...]
    happens: Callable[[Mapping[str, np.ndarray]], Bool[np.ndarray, " step"]]
    environments: tuple[str, ...] = ()
    """Ids it belongs to, `*` standing for anything; empty means any environment."""

    def of(self, environment: str) -> bool:
        """Whether it can happen in this environment."""
        return not self.environments or any(
            fnmatchcase(environment, pattern) for pattern in self.environments
        )


EVENTS: list[Event] = []


def event(
    *needs: str, environments: tuple[str, ...] = ()
) -> Callable[[Callable[..., np.ndarray]], Event]:
    """Makes the decorated function an event; it is called with the metrics named in `needs`."""

    def register(condition: Callable[..., np.ndarray]) -> Event:
        def happens(metrics: Mapping[str, np.ndarray]) -> np.ndarray:
            return condition(*(metrics[name] for name in needs))

        made = Event(condition.__name__, needs, happens, environments)
        EVENTS.append(made)
        return made

    return register


def events_of(environment: str, metrics: Container[str]) -> list[Event]:
    """Every event of an environment that these metrics are enough for."""
    return [
        event
        for event in {event.name: event for event in EVENTS if event.of(environment)}.values()
        if all(name in metrics for name in event.needs)
    ]
