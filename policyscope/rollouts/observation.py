"""Observations on their way: to the agent as tensors, to disk as columns, and back again."""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from policyscope.envs.environment import Observation
from policyscope.recordings.recording import Recording

COLUMN = "observation"

Seen = Shaped[Tensor, "row ..."] | dict[str, Shaped[Tensor, "row ..."]]
"""What an agent is given: one tensor, or several by name."""


def observed(observation: Observation) -> dict[str, Shaped[np.ndarray, "row ..."]]:
    """The columns that hold an observation: `observation`, or an `observation.<part>` for each."""
    if isinstance(observation, dict):
        return {f"{COLUMN}.{part}": values for part, values in observation.items()}
    return {COLUMN: observation}


def as_tensors(observation: Observation, device: torch.device) -> Seen:
    """The observation as the agent takes it."""
    if isinstance(observation, dict):
        return {part: as_tensor(values, device) for part, values in observation.items()}
    return as_tensor(observation, device)


def as_tensor(
    values: Shaped[np.ndarray, "row ..."], device: torch.device
) -> Shaped[Tensor, "row ..."]:
    """The array on `device`; on the processor it is the array's own memory."""
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    return tensor if device.type == "cpu" else tensor.to(device)


def from_columns(columns: Mapping[str, Shaped[np.ndarray, "row ..."]]) -> Seen:
    """The observation that these recorded columns hold; others are ignored."""
    if COLUMN in columns:
        return torch.from_numpy(np.array(columns[COLUMN]))
    start = f"{COLUMN}."
    return {
        name.removeprefix(start): torch.from_numpy(np.array(values))
        for name, values in columns.items()
        if name.startswith(start)
    }


def on_device(seen: Seen, device: torch.device) -> Seen:
    """The observation where the agent is."""
    if isinstance(seen, dict):
        return {part: values.to(device) for part, values in seen.items()}
    return seen.to(device)


def observation_columns(recording: Recording) -> tuple[str, ...]:
    """The columns in which a recording holds what was observed."""
    return tuple(spec.name for spec in recording.header.columns if spec.kind == "observation")
