"""Description and causal share: what the documents of other verbs say of a dictionary."""

from typing import Any

import numpy as np
import pytest

from policyscope.scores.causes import causal_share
from policyscope.scores.description import description


def card(auroc: float | None, *, dead: bool = False, has_label: bool = True) -> dict[str, Any]:
    return {"dead": dead, "label": {"auroc": auroc} if has_label else None}


def test_living_features_without_a_rule_are_at_chance() -> None:
    cards = [card(0.95), card(0.7), card(None), card(0.99, dead=True), card(0.9)]
    found = description({"features": cards})
    assert found is not None
    np.testing.assert_array_equal(found.auroc, [0.95, 0.7, 0.5, 0.9])
    assert (found.median, found.clear, found.labelled) == (0.8, 0.5, 3)
    assert found.to_json()["features"] == 4


def test_without_any_label_there_is_no_description() -> None:
    assert description({"features": [card(None, has_label=False)] * 3}) is None
    dead = description({"features": [card(None, dead=True)]})
    assert dead is not None
    assert dead.to_json()["auroc"] is None


def swept(directions: int = 39) -> dict[str, Any]:
    held = {(1, 2.0), (1, -2.0), (4, 0.5)}
    return {
        "episodes": 50,
        "random_band": {"directions": directions},
        "conditions": [
            {"feature": feature, "alpha": alpha, "confirmed": (feature, alpha) in held}
            for feature in (0, 1, 4, 7)
            for alpha in (-2.0, 0.5, 2.0)
        ],
    }


def test_a_feature_counts_once_however_many_strengths_are_confirmed() -> None:
    found = causal_share(swept())
    assert (found.confirmed, found.without, found.share) == ((1, 4), (0, 7), 0.5)
    assert found.to_json()["share"] == 0.5
    assert found.to_json()["reason"] == ""


@pytest.mark.parametrize("directions", [0, 2, 18])
def test_where_nothing_can_be_confirmed_there_is_no_share(directions: int) -> None:
    found = causal_share(swept(directions))
    assert np.isnan(found.share)
    assert found.to_json()["share"] is None
    assert "too few to confirm" in found.reason
    assert not causal_share(swept(19)).reason
