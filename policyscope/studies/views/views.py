"""The one data interface of the studio: a document or a picture for every path.

    Views(study).get("feature/layer2/k4/17", {})

Whoever shows a study, the server, the report in one file or a notebook, asks here. The shapes of
the documents are written down in `web/src/documents.ts`.
"""

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from policyscope.document import strict
from policyscope.errors import UnknownName
from policyscope.studies.labels import Labels
from policyscope.studies.study import Study
from policyscope.studies.views import episodes, features, overview, relations

Query = Mapping[str, str]


@dataclass(frozen=True)
class Blob:
    """Something that is no document: a picture."""

    content: bytes
    media: str


class Views:
    """Every view of one study; what is costly to read is kept until it changes on disk."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.labels = Labels(study.directory)
        self._kept: dict[Path, tuple[int, Any]] = {}
        # The agent's network and its environment are used by one request at a time.
        self._lock = threading.RLock()
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
                (r"compare", relations.compare),
            )
        ]

    def get(self, path: str, query: Query | None = None) -> Any:
        """The document at `path` as JSON values, or a Blob; UnknownName where there is none."""
        for pattern, view in self.routes:
            found = pattern.fullmatch(path)
            if found:
                with self._lock:
                    answer = view(query=query or {}, **found.groupdict())
                return answer if isinstance(answer, Blob) else strict(answer)
        raise UnknownName(f"There is no view {path!r}.")

    def kept(self, path: Path, read: Callable[[Path], Any]) -> Any:
        """What `read` makes of a file, read again only when the file has changed."""
        stamp = path.stat().st_mtime_ns
        known = self._kept.get(path)
        if known is None or known[0] != stamp:
            known = self._kept[path] = (stamp, read(path))
        return known[1]

    def result(self, *parts: str) -> dict[str, Any] | None:
        """A kept result of the study, parsed once."""
        path = self.study.directory.joinpath(*parts)
        if not path.exists():
            return None
        return self.kept(path, lambda _: self.study.result(*parts))
