"""Labels that people and language models give features: a history to which one only adds.

    <study>/labels.jsonl    one label per line, the newest last

A label is never changed or taken away. What counts is the last one that a person gave, and without
any the one that tells best, on held-out episodes, when the feature fires; see `called`. Whoever
adds one says how many they have seen, so that two who write at once both learn of it and nothing is
lost.
"""

import errno
import json
import math
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

from policyscope.dictionaries.file import HEADER, read_header
from policyscope.errors import DiskFull, InUse, InvalidInput, PolicyscopeError
from policyscope.features.detection import BY_CHANCE
from policyscope.features.label import UNCLEAR, Label

STATUSES = ("guess", "tested", "refuted")
FILE = "labels.jsonl"
LONGEST = 200
PERSON = "person"


@dataclass(frozen=True)
class GivenLabel:
    """One label of one feature, as it was given."""

    dictionary: str
    index: int
    text: str
    status: str
    author: str = ""
    source: str = PERSON
    when: str = ""
    rule: str = ""
    precision: float | None = None
    recall: float | None = None
    auroc: float | None = None
    episodes: int | None = None
    note: str = ""
    base_rate: float | None = None
    support: int | None = None
    target: str = ""
    recording: str = ""
    """The one that it was scored on."""
    weights: int | None = None
    """The checksum of the dictionary it was found for: another fit has other features."""
    key: str = ""
    """Tells one line of the history from every other."""

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise InvalidInput(
                f"A label's status is one of {', '.join(STATUSES)}, not {self.status!r}."
            )
        if not self.text.strip() or len(self.text) > LONGEST or "\n" in self.text:
            raise InvalidInput(f"A label is one line of 1 to {LONGEST} characters.")

    @classmethod
    def found(
        cls,
        label: Label,
        dictionary: str,
        index: int,
        *,
        author: str,
        recording: str,
        weights: int | None,
    ) -> "GivenLabel":
        """What a labeller found, to be kept; `author` is the model's name, where one was asked."""
        return cls(
            dictionary,
            index,
            shortened(label.text),
            label.status,
            author=author,
            source=label.source,
            rule=label.rule,
            precision=known(label.precision),
            recall=known(label.recall),
            auroc=known(label.auroc),
            episodes=label.episodes,
            note=label.note,
            base_rate=known(label.base_rate),
            support=label.support,
            target=label.target,
            recording=recording,
            weights=weights,
        )

    def as_label(self) -> Label:
        """The same as a labeller gives it; what is not known is NaN."""

        def number(score: float | None) -> float:
            return math.nan if score is None else score

        return Label(
            self.text,
            self.rule,
            number(self.precision),
            number(self.recall),
            number(self.auroc),
            self.target,
            self.support or 0,
            self.episodes or 0,
            number(self.base_rate),
            self.note,
            cast(Any, self.status),
            self.source,
        )


def known(value: float) -> float | None:
    """A number as JSON has it."""
    return value if math.isfinite(value) else None


def shortened(text: str) -> str:
    """A text as long as a label may be."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


class Outdated(InUse):
    """Somebody has added a label that the writer has not seen; both labels were kept."""


class Labels:
    """All labels of a study, by feature."""

    def __init__(self, study: Path) -> None:
        self.study = study
        self.path = study / FILE
        self._read = 0
        self._lock = threading.Lock()
        self._weights: dict[str, tuple[int, int]] = {}
        self._known: dict[tuple[str, int], list[GivenLabel]] = {}

    def of(self, dictionary: str, index: int) -> list[GivenLabel]:
        """The labels of one feature, the newest last."""
        self.refresh()
        return list(self._known.get((dictionary, index), ()))

    def called(
        self, dictionary: str, index: int, rule: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any]:
        """The label that counts, as a document; empty where there is none.

        The last one that a person gave. Without any, of what each labeller found last for these
        weights and the `rule` label that `features` found, the one that is worth most.
        """
        given = self.of(dictionary, index)
        by_people = [one for one in given if one.source == PERSON]
        if by_people:
            return asdict(by_people[-1])
        latest = {(one.source, one.author): asdict(one) for one in self.valid(given)}
        among = [*reversed(latest.values()), *([rule] if rule else [])]
        return max(among, key=worth, default={})

    def by(self, dictionary: str, index: int, source: str, author: str) -> GivenLabel | None:
        """The last label that this labeller found for these weights."""
        found = self.valid(self.of(dictionary, index))
        mine = [one for one in found if (one.source, one.author) == (source, author)]
        return mine[-1] if mine else None

    def valid(self, given: Sequence[GivenLabel]) -> list[GivenLabel]:
        """Those that are of no other fit of the dictionary than the one that is there."""
        if not given:
            return []
        weights = self.weights(given[0].dictionary)
        return [one for one in given if one.weights in (None, weights)]

    def weights(self, dictionary: str) -> int | None:
        """The checksum of a dictionary's weights; None where there is no such dictionary."""
        folder = self.study / "dictionaries" / dictionary
        try:
            changed = (folder / HEADER).stat().st_mtime_ns
            if self._weights.get(dictionary, (None,))[0] != changed:
                self._weights[dictionary] = changed, read_header(folder)["weights_crc32"]
        except (OSError, PolicyscopeError, KeyError):
            return None
        return self._weights[dictionary][1]

    def refresh(self) -> None:
        """Reads what was added since; a line that is cut short is left for the next time."""
        # Asked for thousands of features in turn, of whom mostly none has anything new.
        if not self.path.exists() or self.path.stat().st_size == self._read:
            return
        with self._lock, self.path.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._read += len(line)
                label = parse(line)
                if label is not None:
                    self._known.setdefault((label.dictionary, label.index), []).append(label)

    def add(self, label: GivenLabel, revision: int | None = None) -> None:
        """Adds a label; with `revision`, how many its writer had seen.

        Raises Outdated, after adding it, where others had been added before it.
        """
        when = label.when or datetime.now(UTC).isoformat("T", "seconds")
        stamped = replace(label, when=when, key=uuid4().hex)
        line = json.dumps(asdict(stamped), ensure_ascii=False, allow_nan=False) + "\n"
        self._append(line.encode())
        seen = self.of(label.dictionary, label.index).index(stamped)
        if revision is not None and revision != seen:
            raise Outdated(
                f"{label.dictionary}#{label.index} had {seen} labels before yours, and you had "
                f"seen {revision}. Yours was added as the newest; look at all of them."
            )

    def _append(self, line: bytes) -> None:
        """Adds a line; DiskFull where there is no room for all of it."""
        # One write at the end of the file: what two writers add at once comes one after the other.
        end = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            if os.lseek(end, 0, os.SEEK_END):
                os.lseek(end, -1, os.SEEK_END)
                # A line that was cut short must not take this one with it.
                line = line if os.read(end, 1) == b"\n" else b"\n" + line
            if os.write(end, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(end)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFull(f"No room for a label in {self.path}. Those before stay.") from error
            raise
        finally:
            os.close(end)


def worth(label: Mapping[str, Any]) -> float:
    """How well a label tells when its feature fires: the F1 of its precision and recall.

    Words without a score are worth less than any rule, then comes one that says itself that it is
    none, and last one that does no better than chance.
    """
    if label.get("note") == BY_CHANCE:
        return -1.0 if str(label.get("text", "")).startswith(UNCLEAR) else -2.0
    if str(label.get("text", "")).startswith(UNCLEAR):
        return -1.0
    precision, recall = label.get("precision"), label.get("recall")
    if precision is None or recall is None:
        return 0.0
    return 2 * precision * recall / max(precision + recall, 1e-9)


def parse(line: bytes) -> GivenLabel | None:
    """The label of a line; None for a line that is none, which harms no other."""
    try:
        found: Mapping[str, Any] = json.loads(line)
        known = {name: found[name] for name in GivenLabel.__dataclass_fields__ if name in found}
        return GivenLabel(**known)
    except (ValueError, TypeError, AttributeError, InvalidInput):
        return None
