"""The one data interface of the studio: a document or a picture for every path.

    Views(study).get("feature/layer2/k4/17", {})

Whoever shows a study, the server, the report in one file or a notebook, asks here. The shapes of
the documents are written down in `web/src/documents.ts`.
"""

import re
import threading
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from policyscope.document import strict
from policyscope.errors import UnknownName
from policyscope.features.firings import Firings
from policyscope.recordings.format import SHARD_FOLDER
from policyscope.recordings.frames import FOLDER, Frames
from policyscope.recordings.recording import Recording
from policyscope.studies.labels import Labels
from policyscope.studies.study import Study
from policyscope.studies.views import comparison, episodes, features, overview, relations

Query = Mapping[str, str]
MOST_KEPT = 256 * 2**20
"""Bytes of what is kept in memory, as estimated from the files."""
PARSED = 5
"""Bytes that a byte of a JSON file takes in memory, about."""


@dataclass(frozen=True)
class Blob:
    """Something that is no document: a picture."""

    content: bytes
    media: str


@dataclass(frozen=True)
class Kept:
    """What was made of a file that looked like this."""

    changed: int
    size: int
    cost: int
    """Bytes in memory, about."""
    value: Any


class Views:
    """Every view of one study; what is costly to read is kept until it changes on disk.

    Several may be asked for at once: whoever waits, waits for the same thing to be read.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self.labels = Labels(study.directory)
        self._kept: dict[Path, Kept] = {}  # what was asked for last is last
        self._found: dict[str, Any] = {}
        self.firings: dict[tuple[str, str], tuple[Hashable, Firings]] = {}
        """By recording and dictionary, with what they were found of."""
        self._locks: dict[Hashable, threading.RLock] = {}
        self._lock = threading.Lock()
        self.routes: list[tuple[re.Pattern[str], Callable[..., Any]]] = [
            (re.compile(pattern), partial(view, self))
            for pattern, view in (
                (r"overview", overview.overview),
                (r"dictionary/(?P<name>.+)", overview.dictionary_page),
                (r"features/(?P<name>.+)", features.feature_table),
                (r"feature/(?P<name>.+)/(?P<index>\d+)", features.feature_page),
                (r"episodes/(?P<name>.+)", episodes.episode_table),
                (r"episode/(?P<name>.+)/(?P<index>\d+)", episodes.episode_page),
                (r"clip/(?P<name>.+)/(?P<index>\d+)", episodes.clip_of),
                (r"sheet/(?P<name>.+)/(?P<file>ep\d+-\d+\.webp)", episodes.sheet),
                (r"window/(?P<name>.+)/(?P<index>\d+)", episodes.window),
                (r"experiment/(?P<path>.+)", overview.experiment),
                (r"correlations/(?P<name>.+)", relations.correlations),
                (r"scatter/(?P<name>.+)/(?P<index>\d+)/(?P<metric>[^/]+)", relations.scatter),
                (r"compare", comparison.compare),
            )
        ]

    def get(self, path: str, query: Query | None = None) -> Any:
        """The document at `path` as JSON values, or a Blob; UnknownName where there is none."""
        for pattern, view in self.routes:
            found = pattern.fullmatch(path)
            if found:
                answer = view(query=query or {}, **found.groupdict())
                return answer if isinstance(answer, Blob) else strict(answer)
        raise UnknownName(f"There is no view {path!r}.")

    def warm(self) -> None:
        """Reads what most pages need and takes longest to read, before anybody waits for it."""
        for name in self.study.dictionaries():
            if self.result("features", name, "features.json") is not None:
                return

    def holding(self, what: Hashable) -> threading.RLock:
        """What one request at a time holds: of a file, of the agent, of anything costly."""
        with self._lock:
            return self._locks.setdefault(what, threading.RLock())

    def once(self, what: str, find: Callable[[], Any]) -> Any:
        """What `find` gives, asked for only once; only one uses the agent at a time."""
        with self.holding("agent"):
            if what not in self._found:
                self._found[what] = find()
            return self._found[what]

    def kept(self, path: Path, read: Callable[[Path], Any], times: int = 1) -> Any:
        """What `read` makes of a file, read again only when the file has changed.

        It takes so many `times` the file's size in memory; where there is too much, what has not
        been asked for in the longest time is forgotten.
        """
        with self.holding(path):
            status = path.stat()
            known = self._kept.get(path)
            if known is None or (known.changed, known.size) != (status.st_mtime_ns, status.st_size):
                size = status.st_size
                known = Kept(status.st_mtime_ns, size, size * times, read(path))
        with self._lock:
            self._kept.pop(path, None)
            self._kept[path] = known
            total = sum(one.cost for one in self._kept.values())
            for oldest in list(self._kept)[:-1]:
                if total > MOST_KEPT:
                    total -= self._kept.pop(oldest).cost
        return known.value

    def result(self, *parts: str) -> dict[str, Any] | None:
        """A kept result of the study, parsed once."""
        path = self.study.directory.joinpath(*parts)
        if not path.exists():
            return None
        return self.kept(path, lambda _: self.study.result(*parts), PARSED)

    def has(self, *parts: str) -> bool:
        """Whether there is such a result; cheaper than to read it."""
        return self.study.directory.joinpath(*parts).exists()

    def recording(self, name: str) -> Recording:
        """A recording with all that is committed by now; UnknownName where there is none."""
        folder = self.study.directory / "recordings" / name / SHARD_FOLDER
        if ".." in Path(name).parts or not folder.exists():
            return self.study.recording(name)  # which says what there is
        return self.kept(folder, lambda _: self.study.recording(name))

    def frames(self, recording: Recording) -> Frames:
        """The frames of a recording that are committed by now."""
        folder = recording.directory / FOLDER
        if not folder.exists():
            return Frames.open(recording.directory)
        return self.kept(folder, lambda _: Frames.open(recording.directory))
