"""Pages of the studio in one HTML file, which opens from disk and asks nobody for anything.

The page finds every document it may ask for inside the file, under the path it would ask a server
for; pictures are data URIs.
"""

import base64
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from policyscope.address import FeatureAddress, Moment
from policyscope.document import check_place
from policyscope.errors import MissingExtra, PolicyscopeError, UnknownName
from policyscope.recordings.format import write_whole
from policyscope.recordings.frames import Frames, thumbnail
from policyscope.studies.study import Study
from policyscope.studies.views.views import Views

STATIC = Path(__file__).parent / "static"
FOLDER = "reports"
PAGES = ("overview", "features", "episodes", "experiments", "correlations")
MOST_FEATURES = 100
PICTURE_WIDTH = 160
PICTURE_BYTES = 2 * 2**20
"""Of all pictures together; as text they take a third more."""
AROUND = 12
"""Steps before and after a moment in the clip that a page asks for."""
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'"
)


def inline(
    study: Study,
    out: Path | None = None,
    *,
    features: Sequence[str] | None = None,
    pages: Sequence[str] | None = None,
    views: Views | None = None,
) -> Path:
    """Writes pages and features of a study into one HTML file; its path.

    `features` are addresses, by default the strongest of every dictionary; `pages` are some of
    `PAGES`, by default all. Without `out` the file goes below `reports/`.
    """
    for page in pages or ():
        if page not in PAGES:
            raise UnknownName.among("page", page, PAGES)
    place = next_place(study) if out is None else out
    check_place(place)
    shown = Views(study) if views is None else views
    chosen = None if features is None else [FeatureAddress.parse(one) for one in features]
    found = Documents(study, shown, PAGES if pages is None else tuple(pages), chosen).gather()
    write_whole(place, [html(found).encode()], "What was there before stays.")
    return place


def reports_of(study: Study) -> list[Path]:
    """The files that `inline` has written for a study."""
    return sorted((study.directory / FOLDER).glob("studio-*.html"))


def next_place(study: Study) -> Path:
    """A name that no report has."""
    taken = {path.name for path in reports_of(study)}
    number = len(taken) + 1
    while f"studio-{number}.html" in taken:
        number += 1
    return study.directory / FOLDER / f"studio-{number}.html"


class Documents:
    """What a file holds, by the path a page asks for it under."""

    def __init__(
        self,
        study: Study,
        views: Views,
        pages: Sequence[str],
        chosen: Sequence[FeatureAddress] | None,
    ) -> None:
        self.study = study
        self.views = views
        self.pages = pages
        self.found: dict[str, Any] = {}
        self.chosen = list(self.strongest()) if chosen is None else list(chosen)
        self._left = PICTURE_BYTES
        self._frames: dict[str, Frames] = {}

    def gather(self) -> dict[str, Any]:
        """Everything that the pages need."""
        overview = self.take("overview")
        self.found["jobs"] = {"jobs": []}
        # Features are what others lead to; they are there whatever else is.
        for address in self.chosen:
            self.take_feature(address)
        if "features" in self.pages:
            for name in dict.fromkeys(one.dictionary for one in self.chosen):
                self.take_table(name)
        if "episodes" in self.pages:
            for row in overview["recordings"]:
                self.take(f"episodes/{row['name']}")
        if "experiments" in self.pages:
            for row in overview["experiments"]:
                self.take(f"experiment/{row['path']}")
        for row in overview["dictionaries"]:
            self.try_to_take(f"dictionary/{row['name']}")
            if "correlations" in self.pages:
                self.try_to_take(f"correlations/{row['name']}")
        return self.found

    def take(self, path: str) -> Any:
        """Takes in one document, and gives it."""
        self.found[path] = self.views.get(path, {})
        return self.found[path]

    def try_to_take(self, path: str) -> None:
        """Takes in a document that may not be there."""
        try:
            self.take(path)
        except PolicyscopeError:
            self.found.pop(path, None)

    def strongest(self) -> Iterator[FeatureAddress]:
        """The features that most can be said of, of every dictionary as many."""
        tables = []
        for name in self.study.dictionaries():
            try:
                tables.append((name, self.views.get(f"features/{name}", {})["features"]))
            except UnknownName:
                continue
        for name, rows in tables:
            alive = [row for row in rows if not row["dead"]]
            alive.sort(key=lambda row: -abs((row["metric"] or {}).get("r") or 0.0))
            for row in alive[: MOST_FEATURES // len(tables)]:
                yield FeatureAddress(name, row["index"])

    def take_table(self, name: str) -> None:
        """The table of a dictionary's features, with those that are in the file."""
        table = self.take(f"features/{name}")
        kept = {one.index for one in self.chosen if one.dictionary == name}
        rows = [row for row in table["features"] if row["index"] in kept]
        self.found[f"features/{name}"] = {**table, "features": rows}
        for row in rows:
            if row["thumb"]:
                self.take_clip(row["thumb"])

    def take_feature(self, address: FeatureAddress) -> None:
        """A feature's page, with a picture of each of its moments while there is room."""
        page = self.take(f"feature/{address.dictionary}/{address.index}")
        for group in page["intervals"]:
            for moment in group["moments"]:
                self.take_clip(moment["moment"])

    def take_clip(self, address: str) -> None:
        """The clip of a moment, as a single frame; null where there is none."""
        moment = Moment.parse(address)
        first, last = max(0, moment.step - AROUND), moment.step + AROUND
        path = f"clip/{moment.recording}/{moment.episode}?from={first}&to={last}"
        if path in self.found:
            return
        self.found[path] = None
        picture = self.picture(moment)
        if picture is None:
            return
        data, width, height = picture
        sheet = f"sheet/{moment.recording}/ep{moment.episode}-{moment.step}.webp"
        self.found[sheet] = "data:image/webp;base64," + base64.b64encode(data).decode()
        self.found[path] = {
            "width": width,
            "height": height,
            "steps": [moment.step],
            "sheets": [{"path": sheet, "first": 0, "count": 1, "columns": 1}],
        }

    def picture(self, moment: Moment) -> tuple[bytes, int, int] | None:
        """A small picture of a moment with its width and height, if it was drawn and fits in."""
        if moment.recording not in self._frames:
            directory = self.study.recording(moment.recording).directory
            self._frames[moment.recording] = Frames.open(directory)
        frames = self._frames[moment.recording]
        if self._left <= 0 or (moment.episode, moment.step) not in frames:
            return None
        try:
            frame = frames.frame(moment.episode, moment.step)
            data = thumbnail(frame, PICTURE_WIDTH)
        except MissingExtra:
            return None
        self._left -= len(data)
        if self._left < 0:
            return None
        height, width, _ = frame.shape
        scale = min(1.0, PICTURE_WIDTH / max(width, height))
        return data, round(width * scale), round(height * scale)


def html(documents: dict[str, Any]) -> str:
    """The whole file."""
    text = json.dumps(documents, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # Inside a script element nothing may look like its end.
    text = text.replace("<", "\\u003c")
    return page("", f'<script type="application/json" id="documents">{text}</script>\n')


def page(head: str = "", body: str = "") -> str:
    """The studio's page in one piece, with more in its head and before its script."""
    script = (STATIC / "app.js").read_text("utf-8").replace("</script", "<\\/script")
    style = (STATIC / "app.css").read_text("utf-8").replace("</style", "<\\/style")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
{head}<link rel="icon" href="data:,">
<title>policyscope</title>
<style>{style}</style>
</head>
<body>
<div id="app"></div>
<noscript>These pages are drawn with JavaScript. Please allow it for this file.</noscript>
{body}<script type="module">{script}</script>
</body>
</html>
"""
