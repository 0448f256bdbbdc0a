"""What a feature means, in words, with the evidence for it: labels and what makes them.

A label is a guess until an experiment tests it. It is made on some episodes and scored on others.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from policyscope.envs.metric import Words
from policyscope.errors import InvalidInput, NotFinite
from policyscope.registry import Registry
from policyscope.statistics.episodes import hold_out

UNCLEAR = "no clear rule over these metrics"
"""What the label of a feature begins with that no rule tells."""


@dataclass(frozen=True)
class Label:
    """A guess at what makes a feature fire, with its scores on held-out episodes.

    Where there is nothing to score, the scores are NaN and `note` says why.
    """

    text: str
    rule: str
    precision: float
    recall: float
    auroc: float
    target: str
    # Held-out steps that hit the target, in how many episodes, and as a share of all steps there.
    support: int
    episodes: int
    base_rate: float
    note: str = ""
    status: Literal["guess", "tested", "refuted"] = "guess"
    source: str = "rules"

    def __str__(self) -> str:
        text = f"{self.text}: {self.rule}" if self.rule else self.text
        if np.isnan(self.precision):
            return f"{text} ({self.note})" if self.note else text
        return (
            f"{text} (held out: precision {self.precision:.2f} "
            f"against {self.base_rate:.2f} by chance, recall {self.recall:.2f}, "
            f"AUROC {self.auroc:.2f})"
        )


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a labeller may look at: the metrics of every step, split by episode."""

    names: tuple[str, ...]
    metrics: Float[np.ndarray, "step metric"]
    episode: Int[np.ndarray, " step"]
    words: Mapping[str, Words] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    held_out_share: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        steps, columns = self.metrics.shape
        if columns != len(self.names) or steps != len(self.episode):
            raise InvalidInput(
                f"Got metrics of shape {steps} × {columns} for {len(self.names)} names and "
                f"{len(self.episode)} episode numbers; they must agree."
            )
        if columns == 0:
            raise InvalidInput("No metrics were given; a label needs at least one to speak of.")
        for name, column in zip(self.names, self.metrics.T, strict=True):
            if not np.isfinite(column).all():
                at = int(np.flatnonzero(~np.isfinite(column))[0])
                raise NotFinite(f"Metric {name!r} is NaN or Inf in episode {self.episode[at]}.")

    @cached_property
    def held_out(self) -> Bool[np.ndarray, " step"]:
        """The steps of the episodes on which labels are scored; NotEnoughData under four."""
        return hold_out(self.episode, self.held_out_share, self.seed)

    def words_for(self, name: str) -> Words:
        """The words for a metric; "high" and "low" about its median when none were given."""
        if name in self.words:
            return self.words[name]
        spoken = name.replace("_", " ")
        middle = float(np.median(self.metrics[:, self.names.index(name)]))
        return Words(f"{spoken} {{not}} {{very}} low", f"{spoken} {{not}} {{very}} high", middle)


@runtime_checkable
class Labeller(Protocol):
    """What labels features: made once from the evidence, then asked feature by feature."""

    def label(self, codes: Float[np.ndarray, " step"]) -> Label:
        """The label of the feature whose activations are `codes`, one per step of the evidence."""
        ...


LABELLERS: Registry[Callable[[Evidence], Labeller]] = Registry("labeller", "policyscope.labellers")
