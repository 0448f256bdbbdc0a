"""Labelling several features at a time: each comes once, errors come through, threads end."""

import threading

import pytest

from policyscope.errors import NoAnswer, NotFinite
from policyscope.features.detection import nothing
from policyscope.features.label import Label
from policyscope.features.labelling import each, effects


def workers() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "labelling"]


def find(place: int) -> Label:
    if place == 3:
        raise NoAnswer("no")
    return nothing(f"label {place}", "")


@pytest.mark.parametrize("at_once", [1, 2, 5, 50])
def test_each_place_comes_once(at_once: int) -> None:
    found = dict(each(find, 20, at_once))
    assert sorted(found) == list(range(20))
    for place, came in found.items():
        assert isinstance(came, NoAnswer) if place == 3 else came.text == f"label {place}"
    for thread in workers():
        thread.join(60)
    assert workers() == []


@pytest.mark.parametrize("at_once", [1, 4])
def test_who_stops_has_no_more_begun(at_once: int) -> None:
    begun: list[int] = []

    def begin(place: int) -> Label:
        begun.append(place)
        return nothing("", "")

    asked = each(begin, 1000, at_once)
    for _ in range(3):
        next(asked)
    asked.close()
    for thread in workers():
        thread.join(60)
    assert workers() == []
    assert len(begun) <= 3 + at_once


@pytest.mark.parametrize("at_once", [1, 3])
def test_a_fault_of_ours_is_no_failure_of_the_model(at_once: int) -> None:
    def fail(place: int) -> Label:
        raise NotFinite("NaN")

    with pytest.raises(NotFinite):
        list(each(fail, 4, at_once))


def test_effects_are_said_the_largest_first() -> None:
    known = {
        "output": "logits",
        "measured": [0.1, -0.5, None],
        "measured_low": [0.0, None, None],
        "measured_high": [0.2, None, None],
        "direct": [1.0, 2.0, 3.0],
    }
    said = effects({"action_effect": known}, ["left", "right"])
    assert said.startswith("right -0.5, left +0.1 [+0, +0.2] (change of the logits by it")
    direct = effects({"action_effect": {**known, "measured": [None] * 3}}, ["left"])
    assert direct == "2 +3, 1 +2, left +1 (slope of the logits)."
    assert effects(None, []) == effects({"action_effect": None}, []) == ""
