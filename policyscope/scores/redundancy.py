"""Which features say the same thing, which split in a wider dictionary, and which width to use."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from policyscope.errors import InvalidInput, NotEnoughData
from policyscope.scores.comoments import CoMoments
from policyscope.scores.stability import cosines, stability
from policyscope.table import Column, Table

SAME = 0.9
# A child fires with its parent more than by chance and writes nearly the same direction.
CHILD_CORRELATION = 0.2
CHILD_COSINE = 0.7
# The width is judged on the median over seeds: fewer seeds are luck (40 % of small fits collapse).
FEWEST_SEEDS = 3
TOLERANCE = 0.05


class CodeCorrelation:
    """Fold: Pearson r of every feature of one dictionary with every feature of another."""

    def __init__(self) -> None:
        self._sums = CoMoments()

    def update(
        self, codes: Float[np.ndarray, "step feature"], others: Float[np.ndarray, "step other"]
    ) -> None:
        """Takes steps in; for a dictionary with itself give its codes twice."""
        self._sums.update(codes, others)

    def merge(self, other: "CodeCorrelation") -> None:
        """Takes in everything `other` has seen."""
        self._sums.merge(other._sums)

    def result(self) -> Float[np.ndarray, "feature other"]:
        """The correlations; 0 where a feature is constant, as dead ones are."""
        return correlation_of(self._sums)


def correlation_of(moments: CoMoments) -> Float[np.ndarray, "feature other"]:
    """Pearson r of every column of one side with every one of the other; 0 for constant ones."""
    ours, theirs = np.sqrt(moments.left.result()), np.sqrt(moments.right.result())
    scale = np.outer(ours, theirs)
    covariance = moments.result()
    return np.clip(np.divide(covariance, scale, out=np.zeros_like(scale), where=scale > 0), -1, 1)


@dataclass(frozen=True)
class Duplicate:
    """Two features of one dictionary whose codes correlate at |r| > 0.9."""

    first: int
    second: int
    r: float
    cosine: float


def duplicates(
    correlation: Float[np.ndarray, "feature feature"],
    directions: Float[np.ndarray, "feature unit"],
) -> tuple[Duplicate, ...]:
    """All pairs of features of one dictionary that say the same, strongest first."""
    similarity = cosines(directions, directions)
    pairs = np.argwhere(np.triu(np.abs(correlation) > SAME, k=1)).tolist()
    found = [Duplicate(i, j, float(correlation[i, j]), float(similarity[i, j])) for i, j in pairs]
    return tuple(sorted(found, key=lambda pair: -abs(pair.r)))


def count_distinct(
    correlation: Float[np.ndarray, "feature feature"], alive: Bool[np.ndarray, " feature"]
) -> int:
    """How many living features can be kept, in order, so that no two have |r| > 0.9."""
    kept: list[int] = []
    for feature in np.flatnonzero(alive):
        if not kept or np.abs(correlation[feature, kept]).max() <= SAME:
            kept.append(int(feature))
    return len(kept)


@dataclass(frozen=True)
class Descent:
    """What became of one feature in a wider dictionary: kept, split among children, or lost."""

    feature: int
    fate: Literal["kept", "split", "lost"]
    children: tuple[int, ...]
    r: float


def descend(
    correlation: Float[np.ndarray, "feature wider"],
    narrow: Float[np.ndarray, "feature unit"],
    wide: Float[np.ndarray, "wider unit"],
) -> tuple[Descent, ...]:
    """The fate of every feature of a narrow dictionary in a wide one, on the same data.

    Kept: one wide feature has |r| > 0.9. Split: two or more have their highest r with it, r > 0.2
    and a cosine of directions over 0.7. Lost: neither. `r` is the highest |r| with a wide feature.
    """
    similarity = cosines(narrow, wide)
    parent = correlation.argmax(axis=0)
    descents = []
    for feature, row in enumerate(correlation):
        is_child = (
            (parent == feature) & (row > CHILD_CORRELATION) & (similarity[feature] > CHILD_COSINE)
        )
        best = int(np.abs(row).argmax())
        r = float(abs(row[best]))
        children = tuple(np.flatnonzero(is_child).tolist())
        if r > SAME:
            descents.append(Descent(feature, "kept", (best,), r))
        elif len(children) > 1:
            descents.append(Descent(feature, "split", children, r))
        else:
            descents.append(Descent(feature, "lost", (), r))
    return tuple(descents)


@dataclass(frozen=True, eq=False)
class Member:
    """One fitted dictionary of a family, as evidence for its width."""

    width: int
    seed: int
    unexplained: float
    correlation: Float[np.ndarray, "feature feature"]
    directions: Float[np.ndarray, "feature unit"]
    alive: Bool[np.ndarray, " feature"]


@dataclass(frozen=True)
class SizeRow:
    """What one width gives over its seeds; medians unless the name says otherwise."""

    width: int
    seeds: int
    unexplained: float
    unexplained_best: float
    unexplained_worst: float
    alive: float
    distinct: float
    stability: float
    chance: float


@dataclass(frozen=True)
class SizeComparison:
    """Widths side by side and the one that `criterion` picks; None for the `reason` given."""

    rows: tuple[SizeRow, ...]
    advised: int | None
    criterion: str
    reason: str

    def table(self) -> Table:
        """One row per width."""
        names = (
            "width",
            "seeds",
            "unexplained",
            "best",
            "worst",
            "alive",
            "distinct",
            "stability",
            "chance",
        )
        forms = ("d", "d", ".3f", ".3f", ".3f", ".1f", ".1f", ".2f", ".2f")
        return Table(
            title="Sizes compared",
            columns=tuple(Column(name, form) for name, form in zip(names, forms, strict=True)),
            rows=tuple(
                (
                    row.width,
                    row.seeds,
                    row.unexplained,
                    row.unexplained_best,
                    row.unexplained_worst,
                    row.alive,
                    row.distinct,
                    row.stability,
                    row.chance,
                )
                for row in self.rows
            ),
            note=self.reason,
        )

    def __str__(self) -> str:
        return str(self.table())


def compare_sizes(members: Sequence[Member], *, tolerance: float = TOLERANCE) -> SizeComparison:
    """The widths of a family side by side, and the smallest that explains about as much as any.

    No width is advised from fewer than three seeds of each. Raises InvalidInput where a seed
    occurs twice at one width: those differ in something else, and are no repetitions of a width.
    """
    if not members:
        raise NotEnoughData("Got no dictionaries to compare. Fit some widths first.")
    fitted = Counter((member.width, member.seed) for member in members)
    (width, seed), times = fitted.most_common(1)[0]
    if times > 1:
        raise InvalidInput(
            f"Seed {seed} of width {width} occurs {times} times. Sizes are compared over seeds of "
            "one choice per width; compare other choices, as penalties, apart."
        )
    widths = sorted({member.width for member in members})
    rows = tuple(size_row([m for m in members if m.width == width]) for width in widths)
    criterion = (
        "the smallest width whose median unexplained over seeds "
        f"is within {tolerance:g} of the best width's"
    )
    advised, reason = advise(rows, tolerance)
    return SizeComparison(rows, advised, criterion, reason)


def advise(rows: Sequence[SizeRow], tolerance: float) -> tuple[int | None, str]:
    """The width to use and why, or None and why not."""
    thin = [row for row in rows if row.seeds < FEWEST_SEEDS]
    if thin:
        return None, (
            f"No width is advised: width {thin[0].width} has {thin[0].seeds} of the "
            f"{FEWEST_SEEDS} seeds a median needs."
        )
    if len(rows) < 2:
        return None, f"No width is advised: {rows[0].width} is the only one. Fit other widths."
    best = min(rows, key=lambda row: row.unexplained)
    if best.unexplained > 1 - tolerance:
        return None, (
            f"No width is advised: at the best, {best.width}, the median dictionary still leaves "
            f"{best.unexplained:.2f} unexplained. Lower the penalty or fit more seeds."
        )
    chosen = next(row for row in rows if row.unexplained <= best.unexplained + tolerance)
    against = "" if chosen is best else f", against {best.unexplained:.3f} with {best.width}"
    return chosen.width, (
        f"Use {chosen.width}: median unexplained {chosen.unexplained:.3f}{against}; "
        f"{chosen.distinct:g} of {chosen.width} features alive and distinct; "
        f"the smallest within {tolerance:g} of the best, over {chosen.seeds} seeds."
    )


def size_row(members: Sequence[Member]) -> SizeRow:
    """One width over its seeds; stability is against every other seed in turn."""
    for member in members:
        if not len(member.directions) == len(member.alive) == member.width:
            raise InvalidInput(
                f"Seed {member.seed} of width {member.width} has {len(member.directions)} "
                f"directions and {len(member.alive)} alive flags; it needs {member.width} of each."
            )
    unexplained = np.array([member.unexplained for member in members])
    directions, alive = [m.directions for m in members], [m.alive for m in members]
    scores = [
        stability(directions, alive, reference=i)
        for i in range(len(members) if len(members) > 1 else 0)
    ]
    return SizeRow(
        width=members[0].width,
        seeds=len(members),
        unexplained=float(np.median(unexplained)),
        unexplained_best=float(unexplained.min()),
        unexplained_worst=float(unexplained.max()),
        alive=float(np.median([mask.sum() for mask in alive])),
        distinct=float(np.median([count_distinct(m.correlation, m.alive) for m in members])),
        stability=median_known([score.overall for score in scores]),
        chance=median_known([score.chance for score in scores]),
    )


def median_known(values: Sequence[float]) -> float:
    """The median of what is not NaN; NaN when nothing is."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.median(known)) if known else float("nan")
