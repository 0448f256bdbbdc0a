"""A recording in a few rows says what it holds and how its episodes went."""

from pathlib import Path

from policyscope.recordings.recording import Recording
from policyscope.studies.summary import recording_table, recording_to_json


def test_summary_counts_what_is_there(made_study: Path) -> None:
    recording = Recording.open(made_study / "recordings/main")
    found = recording_to_json(recording)
    assert found["steps"] == recording.steps == 1500
    assert found["episodes"] == len(recording.episodes) == sum(found["endings"].values())
    assert found["bytes"] > 1500 * (16 + 8 + 4) * 4
    units = {column["name"]: column["unit"] for column in found["columns"]}
    assert units["pole_angle"] == "rad"
    text = str(recording_table(recording))
    assert "1,500 steps" in text
    assert "fc2:in" in text
