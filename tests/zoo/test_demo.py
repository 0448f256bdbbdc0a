"""The whole job, end to end: what it leaves, and that a second run goes on with the first."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from policyscope.studies.study import Study

DOCUMENT = {
    "study", "report", "training", "baseline_return", "dictionaries", "nudge_found", "verdict",
    "lines",
}  # fmt: skip
NAMES = [f"layer{layer}/k{width}" for layer in (1, 2) for width in (2, 4, 8)]


def start(place: Path) -> subprocess.Popen[str]:
    """`demo --quick` in a process of its own, where no assertions slow it down."""
    entry = Path(sys.executable).with_name("policyscope")
    return subprocess.Popen(
        [str(entry), "demo", "--quick", "--out", str(place), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.slow
def test_interrupted_demo_goes_on_to_causes_and_a_report(tmp_path: Path) -> None:
    place = tmp_path / "study"
    first = start(place)
    assert first.stderr is not None
    for line in first.stderr:
        if line.startswith("── Fitting"):
            first.send_signal(signal.SIGINT)
            break
    out, err = first.communicate()
    assert (first.returncode, out) == (130, "")
    assert err.strip().splitlines()[-1].startswith("policyscope: stopped.")
    begun = Study.open(place)
    assert len(begun.recording().episodes) == 30

    second = start(place)
    out, err = second.communicate()
    assert second.returncode == 0, err
    found = json.loads(out)
    assert found.keys() >= DOCUMENT
    assert found["training"] == begun.result("training.json")
    study = Study.open(place)
    assert study.manifest == begun.manifest
    assert study.recording().steps == begun.recording().steps

    assert sorted(found["dictionaries"]) == NAMES
    assert all(one["unexplained"] > 0 for one in found["dictionaries"].values())
    assert len(found["lines"]) == 10
    assert found["nudge_found"] == ("No nudge" not in found["verdict"])
    page = Path(found["report"])
    assert page == place / "reports" / "report.html"
    assert page.read_text("utf-8").rstrip().endswith("</html>")
    for name in NAMES:
        assert study.result("features", name, "features.json")
        assert study.result("features", name, "score.json")
        assert study.result("experiments", name, "sweep.json")
    assert study.result("experiments", "all", "nudge.json")
