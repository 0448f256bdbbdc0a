"""Labels that people and language models give features: a history to which one only adds.

    <study>/labels.jsonl    one label per line, the newest last

A label is never changed or taken away; what counts is the last one. Whoever adds one says how many
they have seen, so that two who write at once both learn of it and nothing is lost.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from policyscope.errors import InUse, InvalidInput

STATUSES = ("guess", "tested", "refuted")
FILE = "labels.jsonl"
LONGEST = 200


@dataclass(frozen=True)
class GivenLabel:
    """One label of one feature, as it was given."""

    dictionary: str
    index: int
    text: str
    status: str
    author: str = ""
    source: str = "person"
    when: str = ""
    rule: str = ""
    precision: float | None = None
    recall: float | None = None
    auroc: float | None = None
    episodes: int | None = None
    note: str = ""
    key: str = ""
    """Tells one line of the history from every other."""

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise InvalidInput(
                f"A label's status is one of {', '.join(STATUSES)}, not {self.status!r}."
            )
        if not self.text.strip() or len(self.text) > LONGEST or "\n" in self.text:
            raise InvalidInput(f"A label is one line of 1 to {LONGEST} characters.")


class Outdated(InUse):
    """Somebody has added a label that the writer has not seen; both labels were kept."""


class Labels:
    """All labels of a study, by feature."""

    def __init__(self, study: Path) -> None:
        self.path = study / FILE
        self._read = 0
        self._known: dict[tuple[str, int], list[GivenLabel]] = {}

    def of(self, dictionary: str, index: int) -> list[GivenLabel]:
        """The labels of one feature, the newest last."""
        self.refresh()
        return list(self._known.get((dictionary, index), ()))

    def refresh(self) -> None:
        """Reads what was added since; a line that is cut short is left for the next time."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
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
        # One write at the end of the file: what two writers add at once comes one after the other.
        end = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(end, line.encode())
            os.fsync(end)
        finally:
            os.close(end)
        seen = self.of(label.dictionary, label.index).index(stamped)
        if revision is not None and revision != seen:
            raise Outdated(
                f"{label.dictionary}#{label.index} had {seen} labels before yours, and you had "
                f"seen {revision}. Yours was added as the newest; look at all of them."
            )


def parse(line: bytes) -> GivenLabel | None:
    """The label of a line; None for a line that is none, which harms no other."""
    try:
        found: Mapping[str, Any] = json.loads(line)
        known = {name: found[name] for name in GivenLabel.__dataclass_fields__ if name in found}
        return GivenLabel(**known)
    except (ValueError, TypeError, AttributeError, InvalidInput):
        return None
