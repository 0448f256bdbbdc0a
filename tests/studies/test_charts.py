"""The figures are well-formed, say their values, and stay inside their panels."""

import math
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policyscope.studies import charts
from policyscope.studies.charts import Dose, Estimate, Track, signed, thinned
from policyscope.studies.plot import Inline, axis, log_axis, number, tight

HOSTILE = '"><script>alert(1)</script>&'
finite = st.floats(-1e9, 1e9, allow_nan=False)
DOSES = [
    Dose(-1.0, -20.0, -30.0, -10.0, -12.0, 6.0, True, "lowers"),
    Dose(1.0, 4.0, -3.0, 11.0, -9.0, 8.0, False, "no effect shown"),
]


def parsed(figure: Inline) -> ElementTree.Element:
    return ElementTree.fromstring(figure)


def titles(figure: Inline) -> list[str]:
    return [title.text or "" for title in parsed(figure).iter("title")]


@pytest.mark.parametrize(
    "figure",
    [
        charts.histogram([0.0, 1.0, 2.0], [3, 0], HOSTILE, HOSTILE, "f0", log=True),
        charts.dot_intervals([Estimate(HOSTILE, 0.2, 0.1, 0.3, 0.4, HOSTILE)], HOSTILE),
        charts.dose_response(DOSES, HOSTILE, "f1"),
        charts.spark(DOSES, "f1", -30.0, 11.0),
        charts.stacked_endings({HOSTILE: {HOSTILE: 3}}, [HOSTILE]),
        charts.trajectories([Track(0.0, [0.0, 1.0]), Track(-1.0, [0.5])], HOSTILE, "f2"),
        charts.fit_curve([3.0, 1.0], log_axis([1.0, 3.0], HOSTILE), HOSTILE, [1.0], HOSTILE),
        charts.kept_curves({HOSTILE: [1.0, 0.4, 0.1]}, HOSTILE),
    ],
)
def test_figures_are_well_formed_and_escape_names(figure: Inline) -> None:
    assert parsed(figure).tag == "svg"
    assert "<script" not in figure


@given(st.lists(finite, min_size=1), st.integers(1, 12), st.booleans())
def test_axis_holds_its_values(values: list[float], count: int, whole: bool) -> None:
    found = axis(values, "x", count=count, whole=whole)
    slack = 1e-6
    assert all(-slack <= found.share(value) <= 1 + slack for value in values)
    assert list(found.ticks) == sorted(set(found.ticks))
    assert not whole or all(math.isclose(tick, round(tick)) for tick in found.ticks)


@given(st.lists(st.floats(1e-9, 1e9), min_size=1))
def test_log_axis_holds_its_values(values: list[float]) -> None:
    found = log_axis(values, "y")
    assert all(-1e-6 <= found.share(value) <= 1 + 1e-6 for value in values)


def test_axes_live_through_nothing_known() -> None:
    for made in (axis([None, math.nan], "x"), log_axis([0.0, None], "y"), axis([2.0, 2.0], "x")):
        assert made.high > made.low


def test_tight_axis_ends_at_its_values() -> None:
    found = tight(axis([0.0, 53.0], "step"), 0.0, 53.0)
    assert (found.low, found.high) == (0.0, 53.0)
    assert max(found.ticks) <= 53.0


@given(st.integers(0, 5000), st.integers(2, 200))
def test_thinned_keeps_the_ends_in_order(length: int, most: int) -> None:
    steps = thinned(length, most)
    assert len(steps) <= most
    assert steps == sorted(set(steps))
    assert not length or (steps[0], steps[-1]) == (0, length - 1)


def test_dose_response_says_value_interval_band_and_verdict() -> None:
    found = titles(charts.dose_response(DOSES, "change", "f0"))
    assert "α −1.0: −20.0 [−30.0, −10.0] · random [−12.0, +6.0] · lowers" in found


def test_dose_response_without_random_directions_has_no_band() -> None:
    bare = [Dose(1.0, 4.0, -3.0, 11.0, None, None, False)]
    assert "band" not in charts.dose_response(bare, "change", "f0")
    assert 'class="band"' in charts.dose_response(DOSES, "change", "f0")


def test_only_what_holds_is_filled() -> None:
    dots = parsed(charts.dose_response(DOSES, "change", "f0")).iter("circle")
    assert [dot.get("class") for dot in dots] == ["dot", "dot hollow"]


def test_unknown_estimate_shows_its_reason() -> None:
    figure = charts.dot_intervals([Estimate("flat", None, note="constant metric")], "r")
    assert "constant metric" in figure
    assert not list(parsed(figure).iter("circle"))


def test_endings_fill_the_bar() -> None:
    figure = parsed(charts.stacked_endings({"a": {"left": 30, "right": 20}}, ["left", "right"]))
    widths = [float(bar.get("width", "0")) for bar in figure.iter("rect")]
    # One pixel of each part is the gap to the next.
    assert (widths[0] + 1) / (widths[1] + 1) == pytest.approx(1.5, abs=0.01)


def test_histogram_shows_a_single_step() -> None:
    bars = list(
        parsed(charts.histogram([0, 1, 2], [10_000, 1], "x", "steps", log=True)).iter("rect")
    )
    assert all(float(bar.get("height", "0")) > 1 for bar in bars)


def test_a_long_name_is_shortened_and_kept_on_hover() -> None:
    name = "a" * 80
    figure = charts.dot_intervals([Estimate(name, 0.1, 0.0, 0.2)], "r")
    assert "a" * 29 + "…" in figure
    assert name in titles(figure)


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (math.nan, "–"), (-0.04, "0.0"), (1.25, "+1.2"), (-3, "−3.0")]
)
def test_signed(value: float | None, text: str) -> None:
    assert signed(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (-2.5, "−2.5"), (25_000, "25k"), (3e6, "3M"), (1e-17, "0")]
)
def test_tick_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text
