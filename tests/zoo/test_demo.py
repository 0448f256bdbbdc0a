"""The whole job, end to end: what it leaves, and that a second run goes on with it."""

from pathlib import Path

import pytest

from policyscope.studies.study import Study
from policyscope.zoo.demo import demo

DOCUMENT = {
    "study", "report", "training", "baseline_return", "dictionaries", "nudge_found", "verdict",
    "lines",
}  # fmt: skip
NAMES = [f"layer{layer}/k{width}" for layer in (1, 2) for width in (2, 4, 8)]


@pytest.mark.slow
def test_quick_demo_goes_on_with_what_is_there_and_finds_causes(command, tmp_path: Path) -> None:
    place = tmp_path / "study"
    steps = demo(place, quick=True)
    for step in steps:
        assert isinstance(step, str)
        if step.startswith("Fitting"):
            break
    steps.close()
    begun = Study.open(place)
    training, recorded = begun.result("training.json"), begun.recording().steps

    done = command("demo", "--quick", "--out", place, "--json")
    assert done.code == 0, done.err
    found = done.document
    assert found.keys() >= DOCUMENT
    assert found["training"] == training
    assert Study.open(place).manifest == begun.manifest
    assert Study.open(place).recording().steps == recorded

    assert sorted(found["dictionaries"]) == NAMES
    assert all(0 < one["unexplained"] for one in found["dictionaries"].values())
    assert len(found["lines"]) == 10
    assert found["nudge_found"] == ("No nudge" not in found["verdict"])
    page = Path(found["report"])
    assert page == place / "reports" / "report.html"
    assert page.read_text("utf-8").rstrip().endswith("</html>")
    study = Study.open(place)
    for name in NAMES:
        assert study.result("features", name, "features.json")
        assert study.result("features", name, "score.json")
        assert study.result("experiments", name, "sweep.json")
    assert study.result("experiments", "all", "nudge.json")
