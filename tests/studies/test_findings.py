"""The summary says of causes no more than the sweeps can tell."""

from typing import Any

import pytest

from policyscope.studies.findings import Results, say_causes, verdict


def condition(*, p: float, p_random: float | None, confirmed: bool) -> dict[str, Any]:
    return {
        "address": "first/k2#0",
        "alpha": 1.0,
        "difference": 12.0,
        "difference_low": 8.0,
        "difference_high": 16.0,
        "p_corrected": p,
        "p_random": p_random,
        "confirmed": confirmed,
        "verdict": "raises" if confirmed else "as random",
    }


def swept(directions: int, *conditions: dict[str, Any]) -> dict[str, Any]:
    return {"random_band": {"directions": directions}, "conditions": list(conditions)}


def said(**sweeps: dict[str, Any]) -> str:
    return say_causes(Results(None, None, {}, {}, {}, sweeps, [], {}))


HOLDS = condition(p=0.05, p_random=0.05, confirmed=True)
AS_RANDOM = condition(p=0.01, p_random=0.5, confirmed=False)
UNCOMPARED = condition(p=0.01, p_random=None, confirmed=False)


def test_what_holds_is_counted_beside_what_random_directions_do_too() -> None:
    text = said(one=swept(39, HOLDS, AS_RANDOM), two=swept(19, AS_RANDOM))
    assert text.startswith("Of 3 settings of feature and strength, 3 change the mean return")
    assert "1 do so beyond random directions of equal norm (19 to 39 beside each feature" in text
    assert "0 lower it, 1 raises it. The largest change is +12" in text


def test_without_random_directions_nothing_is_said_to_be_beyond_them() -> None:
    text = said(one=swept(0, UNCOMPARED))
    assert "1 change the mean return beyond chance" in text
    assert "1 of 1 tables were not compared with random directions" in text
    assert "beyond random" not in text


def test_too_few_random_directions_are_named_with_how_many_are_needed() -> None:
    text = said(one=swept(9, AS_RANDOM), two=swept(39, HOLDS))
    assert "1 of 2 tables have too few random directions to tell (19 are needed)" in text
    assert "1 do so beyond random directions of equal norm (39 beside each feature" in text


@pytest.mark.parametrize("lost", ["p_random", "verdict"])
def test_a_sweep_of_before_the_correction_confirms_nothing(lost: str) -> None:
    old = {name: value for name, value in HOLDS.items() if name != lost}
    assert ("beyond random" in said(one=swept(39, old))) == (lost == "verdict")
    assert verdict(old) == ("not known" if lost == "verdict" else "raises")
