"""The figure of the nudge page: what the best of 16 settings promised, and what was left of it.

One dot per policy. Across: the gain on the 50 unpaired episodes that chose the setting. Up: its
gain on 500 fresh paired episodes, with its 95 % interval. On the diagonal a promise is kept.
"""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SIDE, LEFT, TOP, GAP = 380, 62, 62, 56
BOTTOM = 58
KIND_TITLES = {"feature": "transcoder features", "random": "random directions of equal norm"}
COLORS = {"zoo": "#0b6e99", "261": "#d1495b"}
LEGEND = {"zoo": "stopped at 200", "261": "checkpoint nearest to 261"}
TICKS = (-100, 0, 100, 200)
LOW, HIGH = -110.0, 260.0


def draw(policies: Sequence[dict[str, Any]], gain: float, path: Path) -> None:
    """Writes the figure as one SVG file; `gain` is what the source reports."""
    panels = [
        panel(policies, kind, gain, LEFT + number * (SIDE + GAP))
        for number, kind in enumerate(KIND_TITLES)
    ]
    width, height = LEFT + 2 * SIDE + GAP + 16, TOP + SIDE + BOTTOM
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="system-ui, sans-serif" font-size="13" fill="#222">\n'
        f'<rect width="{width}" height="{height}" fill="#fff"/>\n'
        + "\n".join([*panels, legend(), axis_names(width, height)])
        + "\n</svg>\n"
    )


def panel(policies: Sequence[dict[str, Any]], kind: str, gain: float, left: float) -> str:
    """One square: the axes, the diagonal, the source's claim, and a dot for every policy."""

    def x(value: float) -> float:
        return left + SIDE * (clipped(value) - LOW) / (HIGH - LOW)

    def y(value: float) -> float:
        return TOP + SIDE * (HIGH - clipped(value)) / (HIGH - LOW)

    parts = [
        text(left + SIDE / 2, TOP - 10, KIND_TITLES[kind], "middle", 'font-weight="600"'),
        f'<rect x="{left}" y="{TOP}" width="{SIDE}" height="{SIDE}" fill="none" stroke="#bbb"/>',
        line(x(LOW), y(0), x(HIGH), y(0), "#888"),
        line(x(LOW), y(LOW), x(HIGH), y(HIGH), "#bbb", "5 4"),
        line(x(gain), y(LOW), x(gain), y(HIGH), "#c9a227", "2 3"),
        text(x(gain) + 4, TOP + SIDE - 8, f"source: +{gain:.0f}", "start", 'fill="#8a6d0b"'),
    ]
    for tick in TICKS:
        parts.append(text(x(tick), TOP + SIDE + 17, f"{tick:+d}" if tick else "0", "middle"))
        parts.append(text(left - 6, y(tick) + 4, f"{tick:+d}" if tick else "0", "end"))
    for policy in policies:
        tried = [one for one in policy["settings"] if one["kind"] == kind]
        best = max(tried, key=lambda one: one["unpaired"])
        fresh, color = best["fresh"], COLORS[policy["group"]]
        across = x(best["unpaired"])
        parts.append(line(across, y(fresh["low"]), across, y(fresh["high"]), color, width=1.2))
        parts.append(
            f'<circle cx="{across:.1f}" cy="{y(fresh["difference"]):.1f}" r="4" fill="{color}" '
            f'fill-opacity="0.85"><title>policy {policy["seed"]}, {best["layer"]} feature '
            f"{best['feature']}, α={best['alpha']:+g}: promised {best['unpaired']:+.0f}, "
            f"fresh {fresh['difference']:+.0f}</title></circle>"
        )
    return "\n".join(parts)


def legend() -> str:
    """Which colour is which group of policies."""
    parts, left = [], LEFT
    for group, words in LEGEND.items():
        parts.append(f'<circle cx="{left + 5}" cy="22" r="5" fill="{COLORS[group]}"/>')
        parts.append(text(left + 16, 27, words, "start"))
        left += 170
    return "\n".join(parts)


def axis_names(width: float, height: float) -> str:
    """What is across and what is up."""
    across = "gain promised by the search (best of 16, 50 unpaired episodes)"
    up = "gain on 500 fresh paired episodes"
    middle = TOP + SIDE / 2
    turned = f'transform="rotate(-90 18 {middle})"'
    return "\n".join(
        [
            text((LEFT + width) / 2, height - 14, across, "middle"),
            text(18, middle, up, "middle", turned),
        ]
    )


def clipped(value: float) -> float:
    """What lies outside is drawn at the edge."""
    return min(max(value, LOW), HIGH)


def line(
    x1: float, y1: float, x2: float, y2: float, color: str, dash: str = "", width: float = 1
) -> str:
    """A straight line."""
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}" '
        f'stroke-width="{width}"{dashes}/>'
    )


def text(x: float, y: float, words: str, anchor: str, more: str = "") -> str:
    """Some words at a place."""
    gap = " " if more else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{gap}{more}>'
        f"{html.escape(words)}</text>"
    )
