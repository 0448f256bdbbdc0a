"""The benchmark as one HTML page: a table, and for each agent pictures of what the kinds keep."""

from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from policyscope.bench.bench import Bench, Cell, kept_words
from policyscope.studies.charts import Estimate, dot_intervals, front_chart
from policyscope.studies.report import read_template

PAGE = "bench.html"


def write_page(found: Bench, out: Path) -> Path:
    """Writes `out/bench.html`: no script, no other file."""
    path = out / PAGE
    path.write_text(page(found), "utf-8")
    return path


def page(found: Bench) -> str:
    """The page."""
    agents = dict.fromkeys(cell.subject for cell in found.cells)
    parts = "".join(
        section(agent, found.sites.get(agent, ""), [c for c in found.cells if c.subject == agent])
        for agent in agents
    )
    left = "".join(
        f"<li><b>{escape(name)}</b>: {escape(why)}</li>" for name, why in found.left_out.items()
    )
    amounts = ", ".join(f"{spoken(name)} {value:,}" for name, value in found.amounts.items())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,"><title>Dictionaries on agents</title>'
        f"<style>{read_template('report.css')} main {{ max-width: 62rem; margin: 2rem auto; "
        "padding: 0 1rem; } td, th { padding: .2rem .6rem; text-align: right; } "
        "td:first-child, th:first-child { text-align: left; } .pair { display: flex; "
        "flex-wrap: wrap; gap: 1rem; }</style></head><body><main>"
        "<h1>Dictionaries on agents</h1>"
        "<p>Autoencoders of each agent's last hidden layer, all on the same recording, scored on "
        "episodes that no fit saw. Unexplained: share of the variance, 0 best. Return kept: 1 as "
        "good as the activation itself, 0 no better than its mean; 95 % intervals over paired "
        f"seeds.</p><p>{escape(amounts)}</p>{parts}"
        + (f"<h2>Left out</h2><ul>{left}</ul>" if left else "")
        + "</main></body></html>\n"
    )


def section(agent: str, site: str, cells: Iterable[Cell]) -> str:
    """One agent: its table and pictures."""
    every = list(cells)
    scored = [cell for cell in every if cell.scores]
    rows = "".join(row(cell) for cell in every)
    kinds = [cell.kind for cell in scored]
    points = [
        (index, cell.scores["l0"], cell.scores["unexplained"], not cell.is_baseline, cell.kind)
        for index, cell in enumerate(scored)
        if cell.scores.get("unexplained") is not None
    ]
    kept = [estimate(cell) for cell in scored if cell.scores.get("return_kept")]
    charts = (front_chart(points, kinds) if points else "") + (
        dot_intervals(kept, "return kept", between=(0.0, 1.0), line_at=1.0) if kept else ""
    )
    head = "".join(
        f"<th>{name}</th>"
        for name in ("kind", "unexplained", "L0", "dead", "same action", "return kept")
    )
    return (
        f"<h2>{escape(agent)} <small><code>{escape(site)}</code></small></h2>"
        f'<div class="pair">{charts}</div>'
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    )


def row(cell: Cell) -> str:
    """One kind as a row."""
    name = escape(cell.kind) + (" <small>baseline</small>" if cell.is_baseline else "")
    if not cell.scores:
        return f'<tr><td>{name}</td><td colspan="5">{escape(cell.reason)}</td></tr>'
    s: Mapping[str, Any] = cell.scores
    values = (
        said(s.get("unexplained"), ".4f"),
        said(s.get("l0"), ".1f"),
        said(s.get("dead"), ".0%"),
        said(s.get("action_agreement"), ".1%"),
        kept_words(s.get("return_kept")),
    )
    return f"<tr><td>{name}</td>{''.join(f'<td>{escape(v)}</td>' for v in values)}</tr>"


def estimate(cell: Cell) -> Estimate:
    """The return that one kind keeps."""
    kept = cell.scores["return_kept"]
    return Estimate(cell.kind, kept["value"], kept["low"], kept["high"], hollow=cell.is_baseline)


def said(value: float | None, form: str) -> str:
    """A number, or a dash where it is not known."""
    return "–" if value is None else format(value, form)


def spoken(name: str) -> str:
    """`most_width` as "most width"."""
    return name.replace("_", " ")
