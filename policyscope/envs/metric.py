"""A metric: a named number that the environment shows at every step, with its unit.

    @metric(unit="rad", environments=("CartPole-v1",))
    def pole_angle(step):
        return step.observation[:, 2]

Whoever defines one of a name that is taken, replaces it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from policyscope.envs.environment import Environment
from policyscope.errors import InvalidInput, UnknownName
from policyscope.registry import import_named


@dataclass(frozen=True)
class Step:
    """One moment of every row, before the agent acts: what a metric is computed from."""

    observation: Shaped[np.ndarray, "row ..."]
    environment: Environment
    info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Words:
    """What a person says when a metric lies below and above `neutral`.

    `{not}` marks where a negation goes and any other `{word}` an adverb for extreme values:
    "cart {not} {far} left" gives "cart left", "cart far left" and "cart not far left".
    """

    low: str
    high: str
    neutral: float = 0.0


@dataclass(frozen=True)
class Metric:
    """A named reading of the environment; `read` gives one number per row."""

    name: str
    unit: str
    read: Callable[[Step], Float[np.ndarray, " row"]]
    environments: tuple[str, ...] = ()
    """Ids it belongs to; empty means any."""
    words: Words | None = None

    def of(self, environment: str) -> bool:
        """Whether it can be read in this environment."""
        return not self.environments or environment in self.environments


METRICS: list[Metric] = []


def metric(
    *,
    unit: str,
    name: str | None = None,
    environments: tuple[str, ...] = (),
    words: Words | None = None,
) -> Callable[[Callable[[Step], Float[np.ndarray, " row"]]], Metric]:
    """Makes the decorated function a metric, known by its name from then on."""

    def register(read: Callable[[Step], Float[np.ndarray, " row"]]) -> Metric:
        made = Metric(name or read.__name__, unit, read, environments, words)
        METRICS.append(made)
        return made

    return register


def metrics_of(environment: str) -> list[Metric]:
    """Every metric known for an environment, the built-in ones first."""
    return list({metric.name: metric for metric in METRICS if metric.of(environment)}.values())


def find_metrics(environment: str, names: Iterable[str | Metric]) -> list[Metric]:
    """The metrics that are named; `module:function` imports one of the user's own.

    Raises UnknownName with a suggestion.
    """
    known = {metric.name: metric for metric in metrics_of(environment)}
    found: list[Metric] = []
    for name in names:
        if isinstance(name, Metric):
            found.append(name)
        elif ":" in name:
            found.append(import_metric(name))
        elif name in known:
            found.append(known[name])
        else:
            raise UnknownName.among(f"metric for {environment}", name, known)
    doubled = {metric.name for metric in found if [m.name for m in found].count(metric.name) > 1}
    if doubled:
        raise InvalidInput(f"Metrics given twice: {', '.join(sorted(doubled))}.")
    return found


def import_metric(spec: str) -> Metric:
    """The metric that `module:function` names."""
    found = import_named("metric", spec)
    if not isinstance(found, Metric):
        raise InvalidInput(f"{spec!r} is not a metric. Decorate it with @metric(unit=…).")
    return found


def read_metric(metric: Metric, step: Step) -> Float[np.ndarray, " row"]:
    """What `metric` reads at `step`, checked to be one number per row."""
    values = np.asarray(metric.read(step), np.float32)
    rows = step.environment.rows
    if values.shape != (rows,):
        raise InvalidInput(
            f"Metric {metric.name!r} returned shape {list(values.shape)}; "
            f"expected one number per row, [{rows}]."
        )
    return values
