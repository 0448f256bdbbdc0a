"""The moments at which each feature fires most, from different episodes.

The strongest steps of a feature are mostly neighbours in one episode; taking at most `per_episode`
of each shows what they have in common instead. Ties go to the earlier episode, then to the
earlier step.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from policyscope.address import Moment
from policyscope.errors import InvalidInput
from policyscope.statistics.episodes import steps_by_episode
from policyscope.statistics.variance import check_columns


@dataclass(frozen=True)
class TopMoment:
    """One step at which a feature fired strongly."""

    episode: int
    step: int
    activation: float
    metrics: dict[str, float]

    def address(self, recording: str) -> Moment:
        """Where this moment lies in `recording`."""
        return Moment(recording, self.episode, self.step)


@dataclass(frozen=True)
class TopMoments:
    """The strongest moments of every feature, strongest first; unused places have episode -1."""

    names: tuple[str, ...]
    activation: Float[np.ndarray, "feature place"]
    episode: Int[np.ndarray, "feature place"]
    step: Int[np.ndarray, "feature place"]
    metrics: Float[np.ndarray, "feature place metric"]

    def of(self, feature_index: int) -> tuple[TopMoment, ...]:
        """The moments of one feature; none for one that never fired."""
        if not 0 <= feature_index < len(self.episode):
            raise InvalidInput(
                f"No feature {feature_index}; features are 0 … {len(self.episode) - 1}."
            )
        return tuple(
            TopMoment(
                episode=int(self.episode[feature_index, place]),
                step=int(self.step[feature_index, place]),
                activation=float(self.activation[feature_index, place]),
                metrics=dict(
                    zip(self.names, self.metrics[feature_index, place].tolist(), strict=True)
                ),
            )
            for place in np.flatnonzero(self.episode[feature_index] >= 0)
        )

    @property
    def distinct_episodes(self) -> Float[np.ndarray, " feature"]:
        """The share of a feature's moments that come from different episodes; NaN without any."""
        ordered = np.sort(self.episode, axis=1)
        is_new = np.diff(ordered, axis=1, prepend=-1) != 0
        used = np.sum(ordered >= 0, axis=1)
        return np.where(used > 0, np.sum(is_new, axis=1) / np.maximum(used, 1), np.nan)

    def __repr__(self) -> str:
        features, places = self.episode.shape
        return f"TopMoments({features} features, up to {places} moments each)"


class CollectMoments:
    """Fold: the `count` strongest moments of every feature, `per_episode` at most of each episode.

    Only activations above zero are moments. Memory: features × count, whatever the data.
    """

    def __init__(self, names: Sequence[str] = (), *, count: int = 5, per_episode: int = 1) -> None:
        if count < 1 or per_episode < 1:
            raise InvalidInput(
                f"Moments need count and per_episode of 1 or more; got {count}, {per_episode}."
            )
        self.names = tuple(names)
        self.count = count
        self.per_episode = per_episode
        self._kept: Candidates | None = None

    def update(
        self,
        codes: Float[np.ndarray, "step feature"],
        metrics: Float[np.ndarray, "step metric"],
        episode: Int[np.ndarray, " step"],
        step: Int[np.ndarray, " step"],
    ) -> None:
        """Takes steps in, in any order."""
        check_columns(len(self.names), metrics.shape[1])
        found = [
            strongest_steps(codes[steps], metrics[steps], number, step[steps], self.per_episode)
            for number, steps in steps_by_episode(episode)
        ]
        if found:
            # Episodes ascend, so that a stable order leaves ties to the earlier one.
            batch = join(found)
            order = np.argsort(-batch.activation, axis=1, kind="stable")
            self._take(batch.at(order[:, : self.count]))

    def merge(self, other: "CollectMoments") -> None:
        """Takes in everything `other` has kept; the choices must be the same."""
        mine = self.names, self.count, self.per_episode
        theirs = other.names, other.count, other.per_episode
        if mine != theirs:
            raise InvalidInput(
                f"Cannot merge moments collected with {theirs} into those with {mine}."
            )
        if other._kept is not None:
            self._take(other._kept)

    def _take(self, new: "Candidates") -> None:
        if self._kept is not None:
            check_columns(len(self._kept.activation), len(new.activation))
            new = join([self._kept, new])
        self._kept = diverse(new, self.per_episode, self.count)

    def result(self) -> TopMoments:
        """The moments so far."""
        kept = self._kept or Candidates.none(len(self.names))
        empty = kept.episode < 0
        return TopMoments(
            names=self.names,
            activation=np.where(empty, np.nan, kept.activation),
            episode=kept.episode,
            step=kept.step,
            metrics=np.where(empty[:, :, None], np.nan, kept.metrics),
        )


@dataclass(frozen=True)
class Candidates:
    """Moments in the running, per feature; a place without one has activation -inf, episode -1."""

    activation: Float[np.ndarray, "feature place"]
    episode: Int[np.ndarray, "feature place"]
    step: Int[np.ndarray, "feature place"]
    metrics: Float[np.ndarray, "feature place metric"]

    @classmethod
    def none(cls, metrics: int) -> "Candidates":
        """No candidates of no features."""
        nothing = np.zeros((0, 0))
        return cls(nothing, nothing.astype(int), nothing.astype(int), np.zeros((0, 0, metrics)))

    def at(self, order: Int[np.ndarray, "feature chosen"]) -> "Candidates":
        """The chosen places, in that order."""
        rows = np.arange(len(order))[:, None]
        return Candidates(
            self.activation[rows, order],
            self.episode[rows, order],
            self.step[rows, order],
            self.metrics[rows, order],
        )


def join(parts: Sequence[Candidates]) -> Candidates:
    """All candidates side by side."""
    return Candidates(
        np.concatenate([part.activation for part in parts], axis=1),
        np.concatenate([part.episode for part in parts], axis=1),
        np.concatenate([part.step for part in parts], axis=1),
        np.concatenate([part.metrics for part in parts], axis=1),
    )


def strongest_steps(
    codes: Float[np.ndarray, "step feature"],
    metrics: Float[np.ndarray, "step metric"],
    number: int,
    step: Int[np.ndarray, " step"],
    count: int,
) -> Candidates:
    """The `count` strongest steps of every feature within one episode."""
    order = np.argsort(step, kind="stable")
    left = np.ascontiguousarray(codes.T if (np.diff(step) > 0).all() else codes[order].T)
    step, metrics = step[order], metrics[order]
    left = left.copy() if count > 1 else left
    rows = np.arange(len(left))
    places = []
    values = []
    for _ in range(count):
        best = left.argmax(axis=1)
        places.append(best)
        values.append(left[rows, best])
        if count > 1:
            left[rows, best] = -np.inf
    place = np.stack(places, axis=1)
    activation = np.stack(values, axis=1).astype(np.float64)
    is_active = activation > 0
    return Candidates(
        activation=np.where(is_active, activation, -np.inf),
        episode=np.where(is_active, number, -1),
        step=np.where(is_active, step[place], -1).astype(np.int64),
        metrics=metrics[place].astype(np.float64),
    )


def diverse(candidates: Candidates, per_episode: int, count: int) -> Candidates:
    """The `count` strongest candidates, `per_episode` at most of each episode."""
    keys = candidates.step, -candidates.activation, candidates.episode
    ordered = candidates.at(np.lexsort(keys, axis=1))
    place = np.arange(ordered.episode.shape[1])
    is_first = np.diff(ordered.episode, axis=1, prepend=-2) != 0
    rank = place - np.maximum.accumulate(np.where(is_first, place, 0), axis=1)
    activation = np.where(rank < per_episode, ordered.activation, -np.inf)
    order = np.lexsort((ordered.step, ordered.episode, -activation), axis=1)[:, :count]
    chosen = ordered.at(order)
    strength = np.take_along_axis(activation, order, axis=1)
    is_empty = np.isneginf(strength)
    return Candidates(
        activation=strength,
        episode=np.where(is_empty, -1, chosen.episode),
        step=np.where(is_empty, -1, chosen.step),
        metrics=chosen.metrics,
    )
