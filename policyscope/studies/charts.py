"""The report's figures: each function takes plain numbers and returns one inline SVG."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from policyscope.studies.plot import (
    LETTER,
    Axis,
    Inline,
    Number,
    Panel,
    axis,
    bar,
    diamond,
    dot,
    is_number,
    line,
    log_axis,
    number,
    path,
    polygon,
    shortened,
    svg,
    text,
    tight,
)

FEATURE_COLORS = 8
ENDING_COLORS = 8
TRAJECTORY_POINTS = 120
ROW = 22


def feature_color(index: int) -> str:
    """The CSS class of a feature's colour: the same one in every figure."""
    return f"f{index % FEATURE_COLORS}"


def ending_color(index: int) -> str:
    """The CSS class of an ending's colour, by its place among the environment's endings."""
    return f"e{index % ENDING_COLORS}"


def signed(value: Number | None, digits: int = 1) -> str:
    """A number with its sign, or a dash where it is not known."""
    return with_sign(value, digits) if is_number(value) else "–"


def with_sign(value: Number, digits: int) -> str:
    """A number with its sign; zero has none."""
    # Adding zero makes −0.0 a plain zero.
    rounded = round(float(value), digits) + 0.0
    return f"{rounded:{'+' if rounded else ''}.{digits}f}".replace("-", "−")


def span(low: Number | None, high: Number | None, digits: int = 1) -> str:
    """An interval in brackets; nothing where it is not known."""
    if not (is_number(low) and is_number(high)):
        return ""
    return f" [{signed(low, digits)}, {signed(high, digits)}]"


def histogram(
    edges: Sequence[Number],
    counts: Sequence[int],
    x: str,
    y: str,
    color: str = "",
    log: bool = False,
) -> Inline:
    """Bars of `counts` between `edges`; `log` shows rare values beside common ones."""
    heights = (
        log_axis([1, max(counts, default=1)], y)
        if log
        else axis([0, *counts], y, count=4, whole=True)
    )
    if log:
        # A single step is still a visible bar.
        heights = Axis(0.5, heights.high, y, heights.ticks, log=True)
    panel = Panel(tight(axis(edges, x, count=6), edges[0], edges[-1]), heights, height=170)
    marks = []
    for (low, high), count in zip(pairwise(edges), counts, strict=True):
        if count:
            left, top = panel.at(low, count)
            wide = max(panel.across(high) - left - 1, 1)
            tip = (
                f"{number(round(low, 3))} to {number(round(high, 3))}: {count:,} {y.split(' ')[0]}"
            )
            marks.append(bar((left, top), wide, panel.height - panel.bottom - top, "bar", tip))
    return panel.draw(marks, f"Histogram of {x}", color)


@dataclass(frozen=True)
class Estimate:
    """A named number with its interval, and perhaps a second one from another method."""

    name: str
    value: Number | None
    low: Number | None = None
    high: Number | None = None
    second: Number | None = None
    note: str = ""
    color: str = ""
    hollow: bool = False


def dot_intervals(
    estimates: Sequence[Estimate],
    x: str,
    *,
    between: tuple[Number, Number] | None = None,
    line_at: Number = 0.0,
    digits: int = 2,
    color: str = "",
    width: int = 400,
    second: str = "",
) -> Inline:
    """One row per estimate: a dot, its interval as a line, and a diamond for `second`."""
    seen = [v for e in estimates for v in (e.value, e.low, e.high, e.second)]
    names = [shortened(estimate.name) for estimate in estimates]
    left = 14 + LETTER * max((len(name) for name in names), default=0)
    height = ROW * len(estimates) + 46
    rows = Axis(len(estimates) - 0.5, -0.5)
    panel = Panel(
        axis([*(between or ()), line_at, *seen], x), rows, width, height, left, 14, top=8, bottom=38
    )
    marks = [
        line((panel.across(t), 8), (panel.across(t), height - 38), "grid") for t in panel.x.ticks
    ]
    marks.append(line((panel.across(line_at), 8), (panel.across(line_at), height - 38), "zero"))
    for row, (estimate, name) in enumerate(zip(estimates, names, strict=True)):
        marks += interval_row(panel, row, estimate, name, digits, second)
    return panel.draw(marks, f"{x}: {len(estimates)} estimates with intervals", color)


def interval_row(
    panel: Panel, row: int, estimate: Estimate, name: str, digits: int, second: str
) -> list[str]:
    """The marks of one estimate."""
    height = panel.down(row)
    full = estimate.name if name != estimate.name else ""
    marks = [text((panel.edge - 8, height + 3.5), name, "end row", full)]
    said = f"{estimate.name}: {signed(estimate.value, digits)}"
    said += span(estimate.low, estimate.high, digits)
    said += f" · {estimate.note}" if estimate.note else ""
    if not is_number(estimate.value):
        return [*marks, text((panel.across(panel.x.low) + 6, height + 3.5), estimate.note or "–")]
    kind = estimate.color
    if is_number(estimate.low) and is_number(estimate.high):
        ends = (panel.across(estimate.low), height), (panel.across(estimate.high), height)
        marks.append(line(*ends, f"interval {kind}", said))
    hollow = " hollow" if estimate.hollow else ""
    marks.append(dot((panel.across(estimate.value), height), f"dot {kind}{hollow}", said))
    if is_number(estimate.second):
        tip = f"{estimate.name}, {second}: {signed(estimate.second, digits)}"
        marks.append(diamond((panel.across(estimate.second), height), "diamond", tip))
    return marks


@dataclass(frozen=True)
class Dose:
    """What one strength did to the mean return, and what random directions did there."""

    alpha: Number
    value: Number
    low: Number
    high: Number
    random_low: Number | None
    random_high: Number | None
    holds: bool
    note: str = ""


def dose_response(doses: Sequence[Dose], y: str, color: str) -> Inline:
    """Change of the return over strength with its interval, above the band of random directions."""
    seen = [v for d in doses for v in (d.value, d.low, d.high, d.random_low, d.random_high)]
    heights = axis([0.0, *seen], y)
    alphas = sorted({0.0, *(dose.alpha for dose in doses)})
    across = strength_axis(alphas)
    panel = Panel(across, heights, height=220)
    marks = [*band(panel, doses), line(panel.at(across.low, 0), panel.at(across.high, 0), "zero")]
    origin = Dose(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, False)
    ordered = sorted([*(d for d in doses if d.alpha != 0), origin], key=lambda d: d.alpha)
    marks.append(path([panel.at(d.alpha, d.value) for d in ordered], "line"))
    for dose in doses:
        said = f"α {signed(dose.alpha)}: {signed(dose.value)}{span(dose.low, dose.high)}"
        said += (
            f" · random{span(dose.random_low, dose.random_high)}"
            if is_number(dose.random_low)
            else ""
        )
        said += f" · {dose.note}" if dose.note else ""
        ends = panel.at(dose.alpha, dose.low), panel.at(dose.alpha, dose.high)
        marks.append(line(*ends, "interval", said))
        marks.append(
            dot(panel.at(dose.alpha, dose.value), "dot" + " hollow" * (not dose.holds), said)
        )
    return panel.draw(marks, f"{y} over strength, {len(doses)} strengths", color)


def strength_axis(alphas: Sequence[Number]) -> Axis:
    """An axis marked at the strengths themselves, where they are few."""
    label = "strength α (multiples of the direction)"
    if len(alphas) > 12 or len(alphas) < 2:
        return axis(alphas, label, count=6)
    room = 0.06 * (max(alphas) - min(alphas))
    return Axis(min(alphas) - room, max(alphas) + room, label, tuple(alphas))


def band(panel: Panel, doses: Sequence[Dose]) -> list[str]:
    """The grey band of random directions, closed at strength 0 where nothing is pushed."""
    known = [
        (dose.alpha, dose.random_low, dose.random_high)
        for dose in doses
        if is_number(dose.random_low) and is_number(dose.random_high)
    ]
    if not known:
        return []
    rows = sorted([*known, (0.0, 0.0, 0.0)])
    outline = [panel.at(a, high or 0.0) for a, _, high in rows]
    outline += [panel.at(a, low or 0.0) for a, low, _ in reversed(rows)]
    return [polygon(outline, "band")]


def spark(doses: Sequence[Dose], color: str, low: Number, high: Number) -> Inline:
    """A dose–response the size of a word; `low` and `high` are shared by those side by side."""
    alphas = [0.0, *(dose.alpha for dose in doses)]
    across = Axis(min(alphas), max(alphas) if max(alphas) > min(alphas) else min(alphas) + 1)
    panel = Panel(across, Axis(min(low, 0), max(high, 1e-9, 0)), 110, 26, 3, 3, 3, 3)
    ordered = sorted([*((d.alpha, d.value) for d in doses), (0.0, 0.0)])
    marks = [*band(panel, doses), line(panel.at(across.low, 0), panel.at(across.high, 0), "zero")]
    marks.append(path([panel.at(*point) for point in ordered], "line"))
    return Inline(svg(110, 26, marks, "Dose–response", color).replace(' tabindex="0"', "", 1))


def stacked_endings(rows: Mapping[str, Mapping[str, int]], names: Sequence[str]) -> Inline:
    """How episodes ended, one bar per row, in shares that add up to all of them."""
    width, height = 400, 20 * len(rows) + 30
    left = 14 + LETTER * max((len(name) for name in rows), default=0)
    room = width - left - 10
    marks = []
    for index, (row, counts) in enumerate(rows.items()):
        total, start, top = sum(counts.values()), left, 6 + 20 * index
        marks.append(text((left - 7, top + 11.5), row, "end row"))
        for place, name in enumerate(names):
            count = counts.get(name, 0)
            if not count:
                continue
            wide, kind = room * count / total, ending_color(place)
            tip = f"{row}: {spoken(name)} {count} of {total}"
            marks.append(bar((start, top), max(wide - 1, 0.5), 16, f"part {kind}", tip))
            if wide > 8 + LETTER * len(str(count)):
                marks.append(text((start + wide / 2, top + 11.8), str(count), "mid in"))
            start += wide
    for share in (0, 0.5, 1):
        place = left + room * share
        marks.append(
            text(
                (place, height - 5),
                f"{share:.0%}".replace("%", " %"),
                "mid" if share < 1 else "end",
            )
        )
    return svg(width, height, marks, f"How episodes ended, {len(rows)} conditions")


def spoken(name: str) -> str:
    """A name from code as one says it."""
    return name.replace("_", " ")


@dataclass(frozen=True)
class Track:
    """One quantity of one episode, step by step, under strength `alpha`; 0 is the baseline."""

    alpha: Number
    values: Sequence[Number]


def trajectories(tracks: Sequence[Track], y: str, color: str) -> Inline:
    """A quantity over the steps of the first episode, the unedited agent in grey.

    Full lines push along the feature, dashed ones against it; the stronger, the bolder. A dot is
    the episode's end.
    """
    longest = max(len(track.values) for track in tracks)
    panel = Panel(
        count_axis(longest, "step of the episode", 6),
        axis([value for track in tracks for value in track.values], y, count=4),
        height=190,
    )
    strongest = max((abs(track.alpha) for track in tracks), default=0) or 1.0
    marks = []
    for track in sorted(tracks, key=lambda t: (t.alpha != 0, abs(t.alpha))):
        if not track.values:
            continue
        name = f"α {signed(track.alpha)}" if track.alpha else "baseline"
        tip = f"{name}: {len(track.values)} steps, ends at {number(round(track.values[-1], 2))}"
        kind = "course plain" if not track.alpha else "course" + " against" * (track.alpha < 0)
        strength = abs(track.alpha) / strongest
        style = f"opacity:{0.45 + 0.55 * strength:.2f}" if track.alpha else ""
        steps = thinned(len(track.values))
        marks.append(path([panel.at(step, track.values[step]) for step in steps], kind, tip, style))
        end = panel.at(len(track.values) - 1, track.values[-1])
        marks.append(dot(end, "stop" + " plain" * (not track.alpha), tip, 2.4, style))
    return panel.draw(marks, f"{y} in the first episode, {len(tracks)} conditions", color)


def count_axis(most: int, label: str, count: int) -> Axis:
    """An axis from zero to exactly `most`, marked at whole numbers."""
    return tight(axis([0, most], label, count=count, whole=True), 0, most)


def thinned(length: int, most: int = TRAJECTORY_POINTS) -> list[int]:
    """At most `most` steps out of `length`, evenly, with the first and the last."""
    if length <= most:
        return list(range(length))
    return sorted({round(index * (length - 1) / (most - 1)) for index in range(most)})


def fit_curve(
    values: Sequence[Number], y: Axis, title: str, final: Sequence[Number] = (), said: str = ""
) -> Inline:
    """One curve over epochs, and beside its end where the other seeds arrived."""
    epochs = count_axis(len(values), "epoch", 4)
    panel = Panel(epochs, y, 250, 150, right=26 if final else 10)
    points = [panel.at(epoch, value) for epoch, value in enumerate(values, 1) if is_number(value)]
    marks = [path(points, "line", f"{title}: {values[-1]:.4g} after {len(values)} epochs")]
    edge = panel.across(epochs.high)
    for value in final:
        if is_number(value):
            place = (edge + 11, panel.down(value))
            marks.append(dot(place, "seed", f"{title}: {value:.3f} {said}", 2.6))
    return panel.draw(marks, f"{title} over {len(values)} epochs", "ink")


def curve_axis(curves: Sequence[Sequence[Number]], label: str) -> Axis:
    """One logarithmic axis for curves that stand side by side."""
    return log_axis([value for curve in curves for value in curve], label)


def kept_curves(curves: Mapping[str, Sequence[Number]], y: str) -> Inline:
    """Unexplained variance over how many features are kept, one line per dictionary."""
    longest = max(len(values) for values in curves.values()) - 1
    highest = max(1.0, *(value for values in curves.values() for value in values))
    heights = tight(axis([0, highest], y, count=5), 0, highest)
    panel = Panel(count_axis(longest, "features kept", 8), heights, height=200)
    marks = []
    for index, (name, values) in enumerate(curves.items()):
        points = [panel.at(kept, value) for kept, value in enumerate(values)]
        dashes = f"line dash{index % 4}"
        marks.append(path(points, dashes))
        for kept, value in enumerate(values):
            tip = f"{name}, {kept} of {len(values) - 1} kept: {value:.3f} unexplained"
            marks.append(dot(points[kept], "dot", tip, 2.6))
        # The curves fall, so the upper right is free for their names.
        height, side = panel.top + 10 + 15 * index, panel.width - 130
        marks.append(line((side, height), (side + 26, height), dashes))
        marks.append(text((side + 32, height + 3.5), shortened(name, 16), "row"))
    return panel.draw(marks, f"{y} by features kept", "ink")


def front_chart(
    points: Sequence[tuple[int, Number, Number, bool, str]], kinds: Sequence[str]
) -> Inline:
    """Unexplained variance against L0: (kind, L0, unexplained, whether on the front, name) each.

    Kinds have colours; settings on the front are filled diamonds, the others rings.
    """
    drawn = [point for point in points if point[1] > 0 and is_number(point[2])]
    panel = Panel(
        log_axis([l0 for _, l0, *_ in drawn], "features active per step (L0)"),
        log_axis([max(unexplained, 1e-6) for _, _, unexplained, *_ in drawn], "unexplained"),
        width=560,
        height=300,
        right=130,
    )
    marks = []
    for kind, l0, unexplained, is_best, name in drawn:
        tip = f"{name}: unexplained {unexplained:.4f}, L0 {l0:.2f}"
        place, color = panel.at(l0, max(unexplained, 1e-6)), feature_color(kind)
        if is_best:
            marks.append(diamond(place, f"dot {color}", tip, radius=5.5))
        else:
            marks.append(dot(place, f"dot hollow {color}", tip))
    for index, kind in enumerate(kinds):
        height = panel.top + 16 * index + 6
        marks.append(diamond((panel.width - 118, height), f"dot {feature_color(index)}"))
        marks.append(text((panel.width - 108, height + 4), kind))
    return panel.draw(marks, "Unexplained variance against L0 of every setting that was tried.")
