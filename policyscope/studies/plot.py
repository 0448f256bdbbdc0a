"""Axes, panels and marks as SVG text: what every figure of the report is drawn with.

Colours are CSS classes (`f0`… for features, `e0`… for endings), so that one figure serves light,
dark and paper. A mark says its value in a `<title>`, which browsers and screen readers know.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, TypeGuard

Number = int | float
Point = tuple[Number, Number]

LETTER = 6.1
"""Mean width of a letter of the 11 px type in which figures are lettered."""
LONGEST_NAME = 30


class Inline(str):
    """Text that goes into a page as it is: it is markup already, and safe."""

    __slots__ = ()

    def __html__(self) -> str:
        return str(self)


@dataclass(frozen=True)
class Axis:
    """A stretch of numbers and where to mark it; `log` counts in powers of ten."""

    low: Number
    high: Number
    label: str = ""
    ticks: tuple[Number, ...] = ()
    names: tuple[str, ...] = ()
    log: bool = False

    def share(self, value: Number) -> Number:
        """Where `value` lies: 0 at the low end, 1 at the high end."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(max(value, low))
        return (value - low) / (high - low)

    def named_ticks(self) -> list[tuple[Number, str]]:
        """The ticks with their text."""
        names = self.names or tuple(number(tick) for tick in self.ticks)
        return list(zip(self.ticks, names, strict=True))


def axis(
    values: Iterable[Number | None], label: str, *, count: int = 5, whole: bool = False
) -> Axis:
    """A linear axis that holds all `values`, ending on round numbers; `whole` ones for counts."""
    known = [value for value in values if is_number(value)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    if high - low <= 1e-12 * max(abs(low), abs(high), 1e-12):
        low, high = low - 0.5, high + 0.5
    step = round_step(max((high - low) / count, 1.0 if whole else 0.0))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(index * step for index in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], label, ticks)


def tight(found: Axis, low: Number, high: Number) -> Axis:
    """`found` from exactly `low` to `high`, with those of its ticks that lie between."""
    if not high > low:
        return found
    slack = 1e-9 * (high - low)
    ticks = tuple(tick for tick in found.ticks if low - slack <= tick <= high + slack)
    return Axis(low, high, found.label, ticks)


def log_axis(values: Iterable[Number | None], label: str) -> Axis:
    """A logarithmic axis that holds all positive `values`, marked at powers of ten."""
    known = [value for value in values if is_number(value) and value > 0] or [1.0, 10.0]
    low = math.floor(math.log10(min(known)) + 1e-9)
    high = max(math.ceil(math.log10(max(known)) - 1e-9), low + 1)
    ticks = tuple(10.0**power for power in range(low, high + 1))
    return Axis(ticks[0], ticks[-1], label, ticks, log=True)


def round_step(least: Number) -> Number:
    """The smallest of 1, 2, 5, 10, … that is at least `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * (1 - 1e-9))


@dataclass(frozen=True)
class Panel:
    """A rectangle with two axes; marks are placed in it by `at`."""

    x: Axis
    y: Axis
    width: int = 400
    height: int = 190
    left: Number = 0.0
    right: Number = 12.0
    top: Number = 22.0
    bottom: Number = 36.0

    @property
    def edge(self) -> Number:
        """Where the plotting area begins: room for the longest tick of y, unless it is given."""
        longest = max((len(name) for _, name in self.y.named_ticks()), default=0)
        return self.left or 10 + LETTER * longest

    def across(self, value: Number) -> Number:
        """The horizontal place of `value`, in pixels."""
        return self.edge + self.x.share(value) * (self.width - self.edge - self.right)

    def down(self, value: Number) -> Number:
        """The vertical place of `value`, in pixels."""
        room = self.height - self.top - self.bottom
        return self.height - self.bottom - self.y.share(value) * room

    def at(self, x: Number, y: Number) -> Point:
        """The place of a value, in pixels."""
        return self.across(x), self.down(y)

    def draw(self, marks: Iterable[str], about: str, color: str = "") -> Inline:
        """The figure: grid and axes below, `marks` on top; `about` says what it shows."""
        return svg(self.width, self.height, [*self.scaffold(), *marks], about, color)

    def scaffold(self) -> list[str]:
        """Grid lines, tick names and the labels of both axes."""
        right, base = self.width - self.right, self.height - self.bottom
        parts = []
        for value, name in self.y.named_ticks():
            height = self.down(value)
            parts.append(line((self.edge, height), (right, height), "grid"))
            parts.append(text((self.edge - 5, height + 3.5), name, "end"))
        for value, name in self.x.named_ticks():
            place = self.across(value)
            parts.append(line((place, base), (place, base + 3), "tick"))
            parts.append(text((place, base + 14), name, "mid"))
        parts.append(line((self.edge, base), (right, base), "tick"))
        parts.append(text((2, 11), self.y.label, "name"))
        parts.append(text(((self.edge + right) / 2, self.height - 5), self.x.label, "name mid"))
        return parts


def svg(width: Number, height: Number, marks: Iterable[str], about: str, color: str = "") -> Inline:
    """An inline picture that the keyboard can reach."""
    kind = f"chart {color}".strip()
    return Inline(
        f'<svg class="{kind}" viewBox="0 0 {coordinate(width)} {coordinate(height)}" '
        f'width="{coordinate(width)}" height="{coordinate(height)}" role="img" tabindex="0" '
        f'aria-label="{escape(about)}">{"".join(marks)}</svg>'
    )


def line(start: Point, end: Point, kind: str, tip: str = "") -> str:
    """A straight line."""
    (x1, y1), (x2, y2) = start, end
    ends = (
        f'x1="{coordinate(x1)}" y1="{coordinate(y1)}" x2="{coordinate(x2)}" y2="{coordinate(y2)}"'
    )
    return element("line", f'class="{kind}" {ends}', tip)


def path(points: Sequence[Point], kind: str, tip: str = "", style: str = "") -> str:
    """A line through all points."""
    steps = "L".join(f"{coordinate(x)} {coordinate(y)}" for x, y in points)
    extra = f' style="{style}"' if style else ""
    return element("path", f'class="{kind}" d="M{steps}"{extra}', tip)


def polygon(points: Sequence[Point], kind: str, tip: str = "") -> str:
    """A filled outline."""
    corners = " ".join(f"{coordinate(x)},{coordinate(y)}" for x, y in points)
    return element("polygon", f'class="{kind}" points="{corners}"', tip)


def dot(place: Point, kind: str, tip: str = "", radius: Number = 3.5, style: str = "") -> str:
    """A round mark."""
    x, y = place
    extra = f' style="{style}"' if style else ""
    where = f'cx="{coordinate(x)}" cy="{coordinate(y)}" r="{coordinate(radius)}"'
    return element("circle", f'class="{kind}" {where}{extra}', tip)


def diamond(place: Point, kind: str, tip: str = "", radius: Number = 4.5) -> str:
    """A mark that is told from a dot without its colour."""
    x, y = place
    return polygon([(x, y - radius), (x + radius, y), (x, y + radius), (x - radius, y)], kind, tip)


def bar(corner: Point, width: Number, height: Number, kind: str, tip: str = "") -> str:
    """A rectangle by its upper left corner."""
    x, y = corner
    where = f'x="{coordinate(x)}" y="{coordinate(y)}"'
    size = f'width="{coordinate(width)}" height="{coordinate(height)}"'
    return element("rect", f'class="{kind}" {where} {size}', tip)


def text(place: Point, content: str, kind: str = "", tip: str = "") -> str:
    """A word or number."""
    if not content:
        return ""
    x, y = place
    title = f"<title>{escape(tip)}</title>" if tip else ""
    where = f'x="{coordinate(x)}" y="{coordinate(y)}"'
    return f'<text class="{kind}" {where}>{escape(content)}{title}</text>'


def element(name: str, attributes: str, tip: str) -> str:
    """One SVG element, with what it says on hover."""
    if not tip:
        return f"<{name} {attributes}/>"
    return f"<{name} {attributes}><title>{escape(tip)}</title></{name}>"


def is_number(value: Any) -> TypeGuard[Number]:
    """Whether `value` is a number that can be drawn."""
    return isinstance(value, int | float) and math.isfinite(value)


def coordinate(value: Number) -> str:
    """A place in pixels, to a tenth."""
    # Adding zero turns −0.0 into 0.0.
    return f"{round(value, 1) + 0.0:.1f}".removesuffix(".0")


def number(value: Number) -> str:
    """A tick's text: short, with a real minus sign."""
    size = abs(value)
    if size >= 1e6:
        said = f"{value / 1e6:.6g}M"
    elif size >= 1e4:
        said = f"{value / 1e3:.6g}k"
    else:
        said = f"{0.0 if size < 1e-12 else value:.6g}"
    return said.replace("-", "−")


def shortened(name: str, longest: int = LONGEST_NAME) -> str:
    """`name`, with its end left out where it is too long for a figure."""
    return name if len(name) <= longest else name[: longest - 1] + "…"
