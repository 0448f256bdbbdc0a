"""The features of one dictionary looked for in another, by direction and by what they say."""

from pathlib import Path

import numpy as np
import pytest

from policyscope.cli import main
from policyscope.features.describe import encode
from policyscope.studies.study import Study
from policyscope.studies.views.comparison import matches_of
from policyscope.studies.views.views import Views

LAYER = "layer2/k4"
FIRST = "layer1/k4"


@pytest.fixture
def views(study: Path) -> Views:
    words = ("fit", "--reads", "fc1:in", "--writes", "fc2:in", "--seeds", "1", "--epochs", "2")
    rest = ("--name", FIRST, "relu", "--width", "4")
    assert main([words[0], str(study), *words[1:], *rest]) == 0
    return Views(Study.open(study))


def test_a_dictionary_is_found_again_in_itself(views: Views) -> None:
    found = views.get("compare", {"dictionaries": f"{LAYER},{LAYER}"})
    assert found["found_again"] == 1.0
    for one in found["matches"]:
        assert one["first"] == one["second"]
        assert one["cosine"] == pytest.approx(1.0, abs=1e-5)


def test_other_sites_are_matched_by_what_they_say(views: Views) -> None:
    found = views.get("compare", {"dictionaries": f"{FIRST},{LAYER}"})
    assert len(found["matches"]) == 4
    recording = views.study.recording("main")
    codes = [
        encode(views.study.dictionary(name), np.asarray(recording.read(site)))
        for name, site in ((FIRST, "fc1:in"), (LAYER, "fc2:in"))
    ]
    for one in found["matches"]:
        pair = codes[0][:, one["first"]], codes[1][:, one["second"]]
        if all(code.std() > 0 for code in pair):
            r = np.corrcoef(*pair)[0, 1]
            assert one["correlation"] == pytest.approx(r, abs=1e-3)
        assert one["cosine"] is None


def test_the_surest_come_first_and_the_dead_are_left_out() -> None:
    cosines = np.array([[0.1, -0.5], [0.2, 0.9], [1.0, 0.0]])
    found = matches_of([0, 1], cosines, None)
    assert [(one["first"], one["second"], one["cosine"]) for one in found] == [
        (1, 1, 0.9),
        (0, 1, -0.5),
    ]
    assert matches_of([0, 1], None, None) == []
