import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from policyscope.errors import CorruptFile, NewerFormat
from policyscope.recordings.recording import Recording


def first_shard(recorded: Path) -> Path:
    return recorded / "shards" / "00000000.safetensors"


def test_any_safetensors_reader_opens_a_shard(recorded: Path, plan):
    with safe_open(first_shard(recorded), framework="numpy") as file:
        facts = file.metadata()
        recording = Recording.open(recorded)
        for name in (*recording.columns, "episode", "step"):
            np.testing.assert_array_equal(file.get_tensor(name), recording.read(name, shard=0))
    assert (facts["format"], facts["rows"]) == ("policyscope-shard/1", "20")
    assert json.loads(facts["segments"])[1] == {
        "episode": 1,
        "first_step": 0,
        "offset": 5,
        "length": 5,
        "row": 1,
    }


def test_each_flipped_byte_is_found(recorded: Path, flip: Callable[[Path, int], None]):
    path = first_shard(recorded)
    for offset in range(0, path.stat().st_size, 7):
        flip(path, offset)
        with pytest.raises((CorruptFile, NewerFormat), match="00000000"):
            Recording.open(recorded).verify()
        flip(path, offset)
    Recording.open(recorded).verify()


def test_a_flipped_byte_names_its_column_when_that_is_read(
    recorded: Path, flip: Callable[[Path, int], None]
):
    path = first_shard(recorded)
    with safe_open(path, framework="numpy") as file:
        last = file.offset_keys()[-1]
    flip(path, path.stat().st_size - 1)
    recording = Recording.open(recorded)
    recording.read("fc1:out")
    with pytest.raises(CorruptFile, match=rf"00000000.*column {last!r}.*offset [\d,]+"):
        recording.read(last)


@pytest.mark.parametrize("size", [0, 5, 100, -1])
def test_a_truncated_shard_is_found_on_opening(recorded: Path, size: int):
    path = first_shard(recorded)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CorruptFile, match=r"00000000.*(truncated|bytes long)"):
        Recording.open(recorded)


def test_a_shard_of_other_columns_is_refused(recorded: Path):
    path = recorded / "recording.json"
    path.write_text(path.read_text().replace('"pole_angle"', '"pole_bangle"'))
    with pytest.raises(CorruptFile, match="pole_angle"):
        Recording.open(recorded)


def test_a_newer_shard_is_refused(recorded: Path):
    path = first_shard(recorded)
    path.write_bytes(path.read_bytes().replace(b"policyscope-shard/1", b"policyscope-shard/2"))
    with pytest.raises(NewerFormat, match="version 2"):
        Recording.open(recorded)
