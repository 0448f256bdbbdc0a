"""A study as one HTML file: no network, no other file, readable in a browser or on paper.

What the study holds is shown, and what it lacks is listed with the command that adds it. Names in a
study are escaped, and the page's policy lets only its own script run.
"""

import base64
import errno
import hashlib
import os
import webbrowser
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

from policyscope.errors import DiskFull
from policyscope.studies import sections
from policyscope.studies.charts import ending_color, feature_color, signed, spoken
from policyscope.studies.findings import (
    findings,
    gaps,
    say_fits,
    share,
    share_span,
    typeset,
    verdict,
)
from policyscope.studies.plot import Inline, Number, is_number
from policyscope.studies.study import Study

TEMPLATES = "templates"
LONG_TABLE = 20
"""Rows from which a table is folded until it is asked for."""


@dataclass(frozen=True)
class Report:
    """A report on disk."""

    path: Path

    def open(self) -> None:
        """Shows it in the browser."""
        webbrowser.open(self.path.absolute().as_uri())


def write_report(study: Study, out: Path | None = None) -> Report:
    """Writes everything `study` holds as one page, by default `reports/report.html` below it.

    The same study gives the same bytes. The file is there whole or not at all.
    """
    path = Path(out) if out is not None else study.directory / "reports" / "report.html"
    page = render(study)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(page, "utf-8")
        temporary.replace(path)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFull(f"No room to write {path}; what was there stays as it was.") from error
        raise
    finally:
        temporary.unlink(missing_ok=True)
    return Report(path)


def render(study: Study) -> str:
    """The page of a study."""
    style, script = (Inline(read_template(name)) for name in ("report.css", "report.js"))
    template = templates().get_template("report.html")
    return template.render(
        style=style, script=script, script_hash=script_hash(script), **contents(study)
    )


def contents(study: Study) -> dict[str, Any]:
    """What the templates show."""
    results = sections.read_results(study)
    names = sections.ending_names(study, results)
    unit = sections.units(study)
    numbered = {name: number for number, name in enumerate(results.headers)}
    return {
        "study": study,
        "manifest": study.manifest,
        "results": results,
        "findings": findings(study, results),
        "gaps": gaps(study, results),
        "fit_said": say_fits(results),
        "agent": sections.agent_section(study, results, names),
        "recordings": [
            sections.recording_section(study.recording(name), names) for name in study.recordings()
        ],
        "layers": sections.layers(study, results),
        "dictionaries": {
            name: sections.dictionary_section(results, name, number, names, unit)
            for name, number in numbered.items()
        },
        "pictures": sections.pictures(study, results),
        "nudges": [sections.nudge_section(*entry) for entry in results.nudges.items()],
        "endings": [(name, ending_color(index)) for index, name in enumerate(names)],
        "units": unit,
        "long_table": LONG_TABLE,
    }


def templates() -> jinja2.Environment:
    """The templates, which escape everything they are given."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("policyscope.studies", TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {
        "fixed": fixed,
        "signed": signed,
        "count": count,
        "probability": probability,
        "share": share,
        "spoken": spoken,
        "typeset": typeset,
        "feature_color": feature_color,
        "interval": interval,
        "share_interval": share_span,
        "verdict": verdict,
    }
    environment.filters.update(filters)
    return environment


def fixed(value: Number | None, digits: int = 3) -> str:
    """A number with so many digits after the point, or a dash where it is not known."""
    if value is None or not is_number(value):
        return "–"
    # Adding zero makes −0.0 a plain zero.
    return f"{round(float(value), digits) + 0.0:.{digits}f}".replace("-", "−")


def interval(low: Number | None, high: Number | None, digits: int = 1) -> str:
    """An interval in brackets; nothing where it is not known."""
    if not (is_number(low) and is_number(high)):
        return ""
    return f"[{fixed(low, digits)}, {fixed(high, digits)}]"


def count(value: Number | None) -> str:
    """A whole number with its thousands apart."""
    return f"{value:,.0f}" if is_number(value) else "–"


def probability(value: Number | None) -> str:
    """A p-value that never says it is zero."""
    if value is None or not is_number(value):
        return "–"
    return "<0.0001" if value < 1e-4 else f"{value:.2g}"


def read_template(name: str) -> str:
    """The text of a style or script that goes into the page as it is."""
    return (resources.files("policyscope.studies") / TEMPLATES / name).read_text("utf-8")


def script_hash(script: str) -> str:
    """What the page's content security policy calls its own script."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
