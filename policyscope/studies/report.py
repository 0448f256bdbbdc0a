"""placeholder until the report is written."""

import webbrowser
from dataclasses import dataclass
from pathlib import Path

from policyscope.studies.study import Study


@dataclass(frozen=True)
class Report:
    """A report on disk."""

    path: Path

    def open(self) -> None:
        """Shows it in the browser."""
        webbrowser.open(self.path.absolute().as_uri())


def write_report(study: Study, out: Path | None = None) -> Report:
    """TODO."""
    path = out or study.directory / "reports" / "report.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("<html></html>")
    return Report(path)
