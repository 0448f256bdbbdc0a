"""Observations on their way: to the agent as tensors, to disk as columns, and back again."""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int, Shaped
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
        return {
            part: torch.from_numpy(np.ascontiguousarray(values)).to(device)
            for part, values in observation.items()
        }
    return torch.from_numpy(np.ascontiguousarray(observation)).to(device)


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


@dataclass(frozen=True, eq=False)
class States:
    """Recorded states, to ask an agent about again, and the episodes they are from."""

    observation: Seen
    episode: Int[np.ndarray, " state"]

    def __len__(self) -> int:
        return len(self.episode)

    def __getitem__(self, rows: slice | Int[np.ndarray, " _"]) -> "States":
        if isinstance(self.observation, dict):
            chosen = {part: values[rows] for part, values in self.observation.items()}
            return States(chosen, self.episode[rows])
        return States(self.observation[rows], self.episode[rows])

    def chunks(self, size: int) -> Iterator["States"]:
        """The states in order, at most `size` at once."""
        return (self[first : first + size] for first in range(0, len(self), size))

    def to(self, device: torch.device) -> Seen:
        """The observations, as the agent on `device` takes them."""
        if isinstance(self.observation, dict):
            return {part: values.to(device) for part, values in self.observation.items()}
        return self.observation.to(device)


def sample_states(
    recording: Recording, count: int, *, seed: int = 0, episodes: Set[int] | None = None
) -> States:
    """Up to `count` recorded states, drawn evenly from `episodes` (all, where None)."""
    episode = np.asarray(recording.read("episode"))
    among = np.arange(len(episode))
    if episodes is not None:
        among = np.flatnonzero(np.isin(episode, list(episodes)))
    chosen = np.sort(np.random.default_rng(seed).permutation(among)[:count])
    columns = [spec.name for spec in recording.header.columns if spec.kind == "observation"]
    parts: list[list[np.ndarray]] = [[] for _ in columns]
    first = 0
    for arrays in recording.iterate("episode", *columns):
        last = first + len(arrays[0])
        here = chosen[(chosen >= first) & (chosen < last)] - first
        for part, array in zip(parts, arrays[1:], strict=True):
            part.append(np.array(array[here]))
        first = last
    found = {name: np.concatenate(part) for name, part in zip(columns, parts, strict=True)}
    return States(from_columns(found), episode[chosen])
