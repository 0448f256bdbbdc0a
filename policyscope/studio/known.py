"""What live play must know of a dictionary's features, found once for all sessions of a study."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float

from policyscope.dictionaries.dictionary import Dictionary
from policyscope.studies.study import Study

ENCODED = 2**18
"""Codes of so many samples and features at once: 1 MB. Larger pieces are not given back to the
system when the thread of a session ends."""

Document = Mapping[str, Any]


@dataclass
class Maxima:
    """The largest code of each feature, and where that is known from."""

    values: Float[np.ndarray, " feature"]
    source: Literal["features", "recording", "play"]

    def unit(self, feature: int) -> float:
        """What slider and share count in; 1 for a feature that was never seen to fire."""
        return float(self.values[feature]) or 1.0

    def shares(self, codes: Float[np.ndarray, " feature"]) -> Float[np.ndarray, " feature"]:
        """The codes as shares of their maxima."""
        return codes / np.where(self.values > 0, self.values, 1.0)

    def copy(self) -> "Maxima":
        """The same, to be raised by one session alone."""
        return Maxima(self.values.copy(), self.source)


@dataclass(frozen=True)
class Known:
    """The maxima of a dictionary's features, and the labels that rules gave them, by index."""

    maxima: Maxima
    rules: Mapping[int, Document | None]


class Knowledge:
    """What is known of every dictionary of a study, until its files change. For any thread."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self._lock = threading.Lock()
        self._found: dict[str, tuple[tuple[int, ...], Known]] = {}

    def of(self, dictionary: Dictionary) -> Known:
        """What is known of a dictionary of the study."""
        name = dictionary.name
        directory = self.study.directory
        files = (
            directory / "dictionaries" / name / "weights.safetensors",
            directory / "features" / name / "features.json",
        )
        with self._lock:
            stamps = tuple(map(changed, files))
            before, found = self._found.get(name, ((), None))
            if found is None or before != stamps:
                found = find(self.study, dictionary)
                # Where play alone shows maxima, a recording may come that does.
                if found.maxima.source != "play":
                    self._found[name] = (stamps, found)
        return Known(found.maxima.copy(), found.rules)


def changed(path: Path) -> int:
    """When a file was last written, in nanoseconds; 0 where there is none."""
    return path.stat().st_mtime_ns if path.exists() else 0


def find(study: Study, dictionary: Dictionary) -> Known:
    """What the study has kept of a dictionary's features."""
    kept = study.result("features", dictionary.name, "features.json")
    cards = [] if kept is None else kept["features"]
    rules = {card["index"]: card.get("label") for card in cards}
    return Known(maxima_of(study, dictionary, cards), rules)


def maxima_of(study: Study, dictionary: Dictionary, cards: Sequence[Document]) -> Maxima:
    """As `features` found them, else on a part of the recording, else as play shows them."""
    if len(cards) == len(dictionary):
        found = [card["max"] or 0.0 for card in cards]
        return Maxima(np.array(found, np.float32), "features")
    sample = study.sample_of(dictionary)
    values = np.zeros(len(dictionary), np.float32)
    if sample is None:
        return Maxima(values, "play")
    with torch.no_grad():
        for part in sample.split(max(1, ENCODED // len(dictionary))):
            np.maximum(values, dictionary.encode(part).amax(0).numpy(), out=values)
    return Maxima(values, "recording")
