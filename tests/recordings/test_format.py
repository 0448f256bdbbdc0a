import json
from pathlib import Path

import pytest

from policyscope.errors import CorruptFile, InvalidInput, NewerFormat, UnknownName
from policyscope.recordings.format import (
    ColumnSpec,
    differences,
    read_header,
    shard_numbers,
    write_header,
)


def test_load_after_save_is_identity(tmp_path: Path, plan):
    header = plan.header(conditions=("none", "steer"), deterministic=True)
    write_header(tmp_path, header)
    assert read_header(tmp_path) == header


def test_a_newer_recording_is_refused(recorded: Path):
    path = recorded / "recording.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 9}))
    with pytest.raises(NewerFormat, match="version 9"):
        read_header(recorded)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"format_version": 1}', "\x00"])
def test_a_damaged_header_is_named(recorded: Path, text: str):
    (recorded / "recording.json").write_text(text)
    with pytest.raises(CorruptFile, match=r"recording\.json"):
        read_header(recorded)


def test_shards_without_a_header_are_a_damage(recorded: Path):
    (recorded / "recording.json").unlink()
    with pytest.raises(CorruptFile, match=r"no recording\.json"):
        read_header(recorded)


def test_a_missing_recording_suggests_its_neighbour(recorded: Path):
    with pytest.raises(UnknownName, match="Did you mean 'main'"):
        read_header(recorded.parent / "mian")


def test_names_are_unique_and_reserved(plan):
    for name in ("step", "value"):
        columns = (*plan.columns, ColumnSpec(name, "metric", "float32"))
        with pytest.raises(InvalidInput, match=f"{name!r} is there twice"):
            plan.header(columns=columns)


def test_what_cannot_be_stored_is_refused(tmp_path: Path, plan):
    with pytest.raises(InvalidInput, match="complex64"):
        ColumnSpec("fc", "site", "complex64")
    with pytest.raises(InvalidInput, match="as JSON"):
        write_header(tmp_path, plan.header(agent={"net": object()}))


def test_the_fingerprint_alone_decides_whether_agents_are_the_same(plan):
    moved = plan.header(agent={"fingerprint": "a1", "path": "elsewhere"})
    other = plan.header(agent={"fingerprint": "b2"}, seed=8)
    assert differences(plan.header(), moved) == []
    assert [each.split(":")[0] for each in differences(plan.header(), other)] == ["agent", "seed"]


def test_only_whole_shards_are_listed(recorded: Path):
    (recorded / "shards" / "00000003.safetensors.tmp").touch()
    (recorded / "shards" / "notes.safetensors").touch()
    assert shard_numbers(recorded) == [0, 1, 2]
