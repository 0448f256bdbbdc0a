"""The running statistics by which an agent's observations were normalised while it was trained."""

import math
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from policyscope.agents.pickles import PickledArray, StandIn, unpickle
from policyscope.agents.preprocessing import Observation
from policyscope.agents.untrusted import Untrusted, read_untrusted
from policyscope.errors import InvalidInput, MissingExtra, UntrustedFile

STATISTICS_BYTES = 256 << 20


@dataclass(frozen=True, eq=False)
class Statistics:
    """Mean and variance of one array of an observation."""

    mean: Float[Tensor, "..."]
    variance: Float[Tensor, "..."]
    count: float
    """How many observations they were gathered from."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the observation, without rows."""
        return tuple(self.mean.shape)


@dataclass(frozen=True, eq=False)
class Normalization:
    """Subtracts the mean, divides by the standard deviation and clips, as VecNormalize does."""

    statistics: Statistics | Mapping[str, Statistics]
    clip: float = 10.0
    epsilon: float = 1e-8

    def as_bytes(self) -> bytes:
        """All its numbers, to tell it from others."""
        if isinstance(self.statistics, Statistics):
            every = {"": self.statistics}
        else:
            every = dict(self.statistics)
        parts = [f"{self.clip} {self.epsilon}".encode()]
        for name, one in sorted(every.items()):
            numbers = (one.mean, one.variance)
            parts += [name.encode(), *(n.double().numpy().tobytes() for n in numbers)]
        return b"\0".join(parts)

    def apply(self, observation: Observation) -> Observation:
        """The observation with every array that has statistics normalised."""
        if isinstance(self.statistics, Statistics):
            if isinstance(observation, Mapping):
                raise InvalidInput("The statistics are of one array; the observation has parts.")
            return self._one(observation, "")
        if not isinstance(observation, Mapping):
            raise InvalidInput("The statistics are of parts; the observation is one array.")
        return {**observation, **{key: self._one(observation[key], key) for key in self.statistics}}

    @cached_property
    def _scales(self) -> dict[str, tuple[Tensor, Tensor]]:
        """The mean and the divisor of every part, the whole being called ''."""
        parts = self.statistics
        every = {"": parts} if isinstance(parts, Statistics) else parts
        return {
            name: (one.mean, torch.sqrt(one.variance + self.epsilon)) for name, one in every.items()
        }

    def _one(self, array: Shaped[Tensor, "row ..."], name: str) -> Float[Tensor, "row ..."]:
        mean, divisor = self._scales[name]
        if array.shape[1:] != mean.shape:
            raise InvalidInput(
                f"The statistics beside the agent are of shape {list(mean.shape)}; "
                f"the observation has {list(array.shape[1:])}."
            )
        # In double precision, as where the statistics were gathered.
        normal = array.double() - mean.to(array.device)
        return normal.div_(divisor.to(array.device)).clamp_(-self.clip, self.clip).float()


def read_vecnormalize(path: Path, *, trust: bool = False) -> Normalization | None:
    """The observation statistics in a VecNormalize pickle; None where it normalises rewards only.

    Nothing in the pickle is run unless it is trusted and cannot be read otherwise.
    """
    source = read_untrusted(path, STATISTICS_BYTES)
    try:
        found = unpickle(source).value
    except UntrustedFile:
        if not trust:
            raise
        found = load_trusted(source)
    facts = facts_of(found)
    if not isinstance(facts, Mapping) or "obs_rms" not in facts:
        raise source.damaged(f"it holds a {type(found).__name__}, not a VecNormalize")
    if not facts.get("norm_obs", True):
        return None
    running, keys = facts["obs_rms"], facts.get("norm_obs_keys")
    if isinstance(running, Mapping):
        names = [*running] if keys is None else keys
        if not isinstance(names, list) or not all(
            isinstance(name, str) and name in running for name in names
        ):
            raise source.damaged("its norm_obs_keys are not parts of its obs_rms")
        parts = {name: to_statistics(running[name], source) for name in names}
        return Normalization(parts, *clip_and_epsilon(facts, source))
    return Normalization(to_statistics(running, source), *clip_and_epsilon(facts, source))


def load_trusted(source: Untrusted) -> Any:
    """Runs the pickle, which needs Stable-Baselines3 and what else it names."""
    try:
        return pickle.loads(source.content)
    except ImportError as error:
        raise MissingExtra.of(error.name or "stable_baselines3", "sb3") from error


def facts_of(found: Any) -> Any:
    """The attributes of an object, be it real or a stand-in; None if it has none."""
    return found.state if isinstance(found, StandIn) else getattr(found, "__dict__", None)


def to_statistics(running: Any, source: Untrusted) -> Statistics:
    """Mean, variance and count of one RunningMeanStd, checked."""
    facts = facts_of(running)
    if not isinstance(facts, Mapping):
        raise source.damaged("its obs_rms is not a RunningMeanStd")
    mean, variance = (to_tensor(facts.get(name)) for name in ("mean", "var"))
    if mean is None or variance is None or mean.shape != variance.shape:
        raise source.damaged("its obs_rms has no mean and variance of one shape")
    if not (
        torch.isfinite(mean).all() and torch.isfinite(variance).all() and (variance >= 0).all()
    ):
        raise source.damaged("its obs_rms has a mean or variance that cannot be")
    count = to_tensor(facts.get("count", 0.0))
    if count is None or count.numel() != 1:
        raise source.damaged("its obs_rms does not count its observations")
    return Statistics(mean, variance, float(count))


def to_tensor(value: Any) -> Float[Tensor, "..."] | None:
    """A pickled array as double precision numbers; None if it is none."""
    array = value.value if isinstance(value, PickledArray) else value
    if not isinstance(array, np.ndarray | np.number | float | int):
        return None
    return torch.from_numpy(np.array(array, np.float64))


def clip_and_epsilon(facts: Mapping[Any, Any], source: Untrusted) -> tuple[float, float]:
    """Where normalised observations are clipped, and what keeps their divisor from zero."""
    try:
        clip, epsilon = float(facts.get("clip_obs", 10.0)), float(facts.get("epsilon", 1e-8))
    except (TypeError, ValueError) as error:
        raise source.damaged("its clip_obs or epsilon is no number") from error
    if not clip > 0 or not math.isfinite(epsilon) or epsilon < 0:
        raise source.damaged(f"its clip_obs is {clip} and its epsilon {epsilon}")
    return clip, epsilon
