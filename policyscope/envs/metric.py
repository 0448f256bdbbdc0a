"""A metric: a named number that the environment shows at every step, with its unit.

    @metric(unit="rad", environments=("CartPole-v1",))
    def pole_angle(step):
        return step.observation[:, 2]

Whoever defines one of a name that is taken, replaces it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import gymnasium
import numpy as np
from jaxtyping import Float

from policyscope.envs.environment import Environment
from policyscope.errors import InvalidInput, UnknownName
from policyscope.registry import import_named


@dataclass(frozen=True)
class Step:
    """One moment of every row, before the agent acts: what a metric is computed from."""

    observation: Any
    """An Observation: [row, …], or several such by name."""
    environment: Environment
    info: Mapping[str, Any] = field(default_factory=dict)
    _answers: dict[Any, list[Any]] = field(default_factory=dict, repr=False, compare=False)

    def ask(self, question: Callable[[gymnasium.Env[Any, Any]], Any]) -> list[Any]:
        """What `question` answers about each row's own environment; asked once for all metrics."""
        if question not in self._answers:
            self._answers[question] = self.environment.ask(question)
        return self._answers[question]

    def stack(
        self, question: Callable[[gymnasium.Env[Any, Any]], Mapping[str, np.ndarray]]
    ) -> dict[str, np.ndarray]:
        """The arrays that `question` answers by name, each [row, …]; stacked once for all."""
        key = ("stacked", question)
        if key not in self._answers:
            answers = self.ask(question)
            stacked = {name: np.stack([one[name] for one in answers]) for name in answers[0]}
            self._answers[key] = [stacked]
        return self._answers[key][0]


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
    """Ids it belongs to, `*` standing for anything; empty means any environment."""
    words: Words | None = None

    def of(self, environment: str) -> bool:
        """Whether it can be read in this environment."""
        return not self.environments or any(
            fnmatchcase(environment, pattern) for pattern in self.environments
        )


METRICS: list[Metric] = []

Family = Callable[[str], Iterable[Metric]]
"""Takes the id of an environment; returns the metrics that it can only name by looking at it."""

FAMILIES: list[Family] = []


def metric_family(family: Family) -> Family:
    """Makes the decorated function tell the metrics of environments it recognises by their id."""
    FAMILIES.append(family)
    return family


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
    told = [metric for family in FAMILIES for metric in family(environment)]
    known = [metric for metric in METRICS if metric.of(environment)]
    return list({metric.name: metric for metric in (*told, *known)}.values())


def info_metric(key: str, unit: str = "") -> Metric:
    """The metric `info:KEY`: what the environment's info holds under `key` after the last step.

    NaN where it holds nothing: before a first step, and in rows that do not report it.
    """

    def read(step: Step) -> Float[np.ndarray, " row"]:
        values = np.full(step.environment.rows, np.nan, np.float32)
        if key in step.info:
            # Gymnasium marks the rows that reported a key in `_key`.
            told = np.asarray(step.info.get(f"_{key}", np.ones(len(values), np.bool_)), np.bool_)
            values[told] = np.asarray(step.info[key], np.float32)[told]
        return values

    return Metric(f"info:{key}", unit, read)


def find_metrics(environment: str, names: Iterable[str | Metric]) -> list[Metric]:
    """The metrics that are named; `module:function` imports one of the user's own.

    `info:KEY` reads the environment's info.

    Raises UnknownName with a suggestion.
    """
    known = {metric.name: metric for metric in metrics_of(environment)}
    found: list[Metric] = []
    for name in names:
        if isinstance(name, Metric):
            found.append(name)
        elif name.startswith("info:"):
            found.append(info_metric(name.removeprefix("info:")))
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
