"""Choosing a dictionary: kinds × widths × sparsities × seeds on one site, and which are worth it.

Every setting is fitted like any other dictionary. Those that no other one beats in unexplained
variance, L0 and dead features together make the front; the agent then plays with the
reconstruction of each of them spliced in. What was fitted before is not fitted again.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

from policyscope.dictionaries.dictionary import DICTIONARIES, Dictionary, kind_of
from policyscope.document import strict
from policyscope.errors import InvalidInput
from policyscope.scores.fidelity import ReturnKept
from policyscope.studies.charts import front_chart
from policyscope.studies.fitting import Choice
from policyscope.studies.plot import Inline
from policyscope.table import Column, Shown, Table

KINDS = ("relu", "l1", "topk", "batch-topk", "jumprelu", "matryoshka")
"""What is tried by default: what every user may want, and no baselines."""
ACTIVE = (4, 8, 16, 32)
"""Features active per step to try, in kinds that are asked for a number."""
PENALTIES = (0.3, 1.0, 3.0, 10.0)
"""Multiples of a kind's own penalty to try, in kinds that have one."""

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195", "#666666")
STYLE = (
    "<style>text { font: 11px system-ui, sans-serif; fill: #444; } .mid { text-anchor: middle; } "
    ".end { text-anchor: end; } .grid { stroke: #e4e4e4; } .tick { stroke: #888; } "
    ".dot { fill: var(--c); stroke: var(--c); stroke-width: 1.6; } .dot.hollow { fill: none; } "
    + " ".join(f".f{index} {{ --c: {color}; }}" for index, color in enumerate(COLORS))
    + "</style>"
)


@dataclass(frozen=True)
class Found:
    """One setting: medians over its seeds, and what the best of them keeps of the return."""

    name: str
    kind: str
    choices: Mapping[str, Any]
    unexplained: float
    l0: float
    dead: float
    seeds: int
    is_best: bool = False
    """Whether it is on the front."""
    return_kept: ReturnKept | None = None

    def to_json(self) -> dict[str, Any]:
        """The row as a document."""
        kept = None if self.return_kept is None else strict(vars(self.return_kept))
        return {**strict(vars(self)), "choices": dict(self.choices), "return_kept": kept}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Found":
        """The row that `to_json` wrote."""
        row, kept = dict(document), document["return_kept"]
        if kept is not None:
            known: dict[str, Any] = {name: math.nan if v is None else v for name, v in kept.items()}
            row["return_kept"] = ReturnKept(**known)
        return cls(**row)


@dataclass(frozen=True)
class Front(Shown):
    """Every setting that was tried, by kind, those on the front marked."""

    reads: str
    writes: str
    rows: tuple[Found, ...]
    notes: tuple[str, ...] = ()
    """What was left out, and why."""

    @property
    def best(self) -> tuple[Found, ...]:
        """The settings that no other one beats, from sparse to dense."""
        return tuple(sorted((row for row in self.rows if row.is_best), key=lambda row: row.l0))

    def table(self) -> Table:
        """The front first, from sparse to dense, then the rest."""
        columns = (
            Column("dictionary", side="left"),
            Column("front", side="left"),
            Column("unexplained", ".4f"),
            Column("L0", ".2f"),
            Column("dead", ".0%"),
            Column("return kept", side="right"),
        )
        rest = sorted((row for row in self.rows if not row.is_best), key=lambda row: row.l0)
        rows = tuple(
            (
                row.name,
                "●" if row.is_best else "",
                row.unexplained,
                row.l0,
                row.dead,
                "" if row.return_kept is None else str(row.return_kept),
            )
            for row in (*self.best, *rest)
        )
        note = "Medians over seeds; the front: no other has less unexplained, L0 and dead at once."
        return Table(f"{self.reads} → {self.writes}", columns, rows, " ".join((note, *self.notes)))

    def chart(self) -> Inline:
        """Unexplained variance against L0, a colour per kind, the front filled."""
        kinds = list(dict.fromkeys(row.kind for row in self.rows))
        points = [
            (kinds.index(row.kind), row.l0, row.unexplained, row.is_best, row.name)
            for row in self.rows
        ]
        return front_chart(points, kinds)

    def picture(self) -> str:
        """The chart as an SVG file of its own."""
        start, rest = self.chart().split(">", 1)
        return f'{start} xmlns="http://www.w3.org/2000/svg">{STYLE}{rest}'

    def to_json(self) -> dict[str, Any]:
        """The document that is kept."""
        return {
            "reads": self.reads,
            "writes": self.writes,
            "rows": [row.to_json() for row in self.rows],
            "notes": list(self.notes),
        }


def settings(
    kinds: Sequence[str], widths: Sequence[int], sparsities: Sequence[float], prefix: str
) -> list[Dictionary]:
    """Every setting as an unfitted dictionary with a name; impossible ones are left out.

    `sparsities` are numbers of active features in kinds that have a `k`, and penalties in kinds
    that have a `penalty`; without any, `ACTIVE` or multiples of the kind's own penalty.
    """
    made = []
    for kind in kinds:
        known = {field.name: field for field in fields(cast(Any, DICTIONARIES.get(kind)))}
        for width in widths:
            for label, choices in sparsity_choices(known, width, sparsities):
                one = DICTIONARIES.get(kind)(width=width, **choices)
                one.name = f"{prefix}/{kind_of(one)}{width}{label}"
                made.append(one)
    if not made:
        raise InvalidInput(
            f"Nothing to try: kinds {list(kinds)}, widths {list(widths)}, sparsities "
            f"{list(sparsities)}. Give a number of active features below a width."
        )
    return made


def sparsity_choices(
    known: Mapping[str, Any], width: int, sparsities: Sequence[float]
) -> list[tuple[str, dict[str, Any]]]:
    """What one kind can be asked for at a width, with the words for its name."""
    if "k" in known:
        wanted = [int(k) for k in sparsities if k >= 1 and k == int(k)] or list(ACTIVE)
        return [(f"-k{k}", {"k": k}) for k in wanted if k < width]
    if "penalty" in known:
        own = known["penalty"].default
        wanted = [p for p in sparsities if p < 1] or [own * factor for factor in PENALTIES]
        return [(f"-p{penalty:.3g}", {"penalty": penalty}) for penalty in wanted]
    return [("", {})]


def measured(choice: Choice) -> Found:
    """The row of a setting that has been fitted."""
    document = choice.to_json()
    one = choice.dictionary
    middle = sorted(choice.candidates, key=lambda candidate: candidate.score.unexplained)
    median = middle[len(middle) // 2].score
    return Found(
        name=one.name,
        kind=kind_of(one),
        choices=one.choices(),
        unexplained=document["unexplained_median"],
        l0=median.l0,
        dead=median.dead,
        seeds=len(choice.candidates),
    )


def is_beaten(row: Found, others: Sequence[Found]) -> bool:
    """Whether another setting is at least as good in everything, and better in something."""
    mine = (row.unexplained, row.l0, row.dead)
    for other in others:
        theirs = (other.unexplained, other.l0, other.dead)
        if theirs != mine and all(t <= m for t, m in zip(theirs, mine, strict=True)):
            return True
    return False
