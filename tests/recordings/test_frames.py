"""Frames come back as they were, whole sheets only, and say clearly what is wrong with them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policyscope.errors import CorruptFile, InUse, MissingExtra, NewerFormat, UnknownName

pytest.importorskip("PIL", reason="needs the extra [frames]")

import PIL.Image

from policyscope.recordings import frames as module
from policyscope.recordings.frames import (
    MOST_FRAMES,
    Frames,
    FramesWriter,
    missing_frames,
    most_frames,
    thumbnail,
)


def noise(seed: int, height: int = 5, width: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def write(directory: Path, episode: int, steps: range, **size: int) -> None:
    with FramesWriter(directory) as writer:
        for step in steps:
            writer.write(episode, step, noise(1000 * episode + step, **size))


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    counts=st.lists(st.integers(1, 2 * MOST_FRAMES + 3), min_size=1, max_size=3),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
)
def test_frames_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], height: int, width: int
) -> None:
    directory = tmp_path_factory.mktemp("recording")
    for episode, count in enumerate(counts):
        write(directory, episode, range(count), height=height, width=width)
    found = Frames.open(directory)
    assert found.episodes() == tuple(range(len(counts)))
    assert len(found) == sum(counts)
    for episode, count in enumerate(counts):
        assert found.steps(episode) == tuple(range(count))
        for step in range(count):
            expected = noise(1000 * episode + step, height, width)
            np.testing.assert_array_equal(found.frame(episode, step), expected)


def test_a_sheet_is_readable_without_policyscope(tmp_path: Path) -> None:
    write(tmp_path, 3, range(10, 22))
    facts = json.loads((tmp_path / "frames" / "ep3-0000.json").read_text())
    with PIL.Image.open(tmp_path / "frames" / facts["picture"]) as opened:
        picture = np.asarray(opened.convert("RGB"))
    place = facts["steps"].index(20)
    top = place // facts["columns"] * facts["height"]
    left = place % facts["columns"] * facts["width"]
    cut = picture[top : top + facts["height"], left : left + facts["width"]]
    np.testing.assert_array_equal(cut, noise(3020))


def test_later_frames_of_an_episode_are_added(tmp_path: Path) -> None:
    write(tmp_path, 0, range(0, 3))
    write(tmp_path, 0, range(7, 9))
    found = Frames.open(tmp_path)
    assert (found.steps(0), len(found.sheets)) == ((0, 1, 2, 7, 8), 2)
    assert found.to_json() == {"sheets": 2, "frames": 5, "bytes": found.bytes}
    assert missing_frames(found, {0: [2, 3], 1: [5], 2: []}) == {0: (3,), 1: (5,)}


def test_frames_of_another_size_begin_a_sheet(tmp_path: Path) -> None:
    with FramesWriter(tmp_path) as writer:
        writer.write(0, 0, noise(0))
        writer.write(0, 1, noise(1, 8, 8))
    found = Frames.open(tmp_path)
    assert [found.frame(0, step).shape for step in (0, 1)] == [(5, 7, 3), (8, 8, 3)]


@pytest.mark.parametrize("size", [(1, 1), (400, 600), (2160, 3840), (16_383, 16_383), (1, 16_000)])
def test_a_sheet_fits_into_a_picture(size: tuple[int, int]) -> None:
    count, columns = most_frames(*size), module.most_columns(size[1])
    rows = -(-count // columns)
    assert 1 <= count <= MOST_FRAMES
    assert max(rows * size[0], min(columns, count) * size[1]) <= module.LONGEST_SIDE


def test_a_killed_writer_leaves_whole_sheets(tmp_path: Path) -> None:
    program = (
        "import os, sys, numpy as np\n"
        "from pathlib import Path\n"
        "from policyscope.recordings.frames import FramesWriter\n"
        "writer = FramesWriter(Path(sys.argv[1]))\n"
        "for step in range(100):\n"
        "    writer.write(0, step, np.full((4, 4, 3), step, np.uint8))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path)])
    assert killed.returncode == -9
    assert Frames.open(tmp_path).steps(0) == tuple(range(MOST_FRAMES))


def test_a_sheet_killed_before_its_index_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, 0, range(2))
    whole = module.write_whole

    def killed(path: Path, *rest: object) -> None:
        if path.suffix == ".json":
            raise KeyboardInterrupt
        whole(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "write_whole", killed)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, 0, range(2, 4))
    monkeypatch.undo()
    (tmp_path / "frames" / "ep0-0002.webp.tmp").write_bytes(b"half")
    assert Frames.open(tmp_path).steps(0) == (0, 1)
    write(tmp_path, 0, range(2, 5))
    found = Frames.open(tmp_path)
    assert found.steps(0) == (0, 1, 2, 3, 4)
    np.testing.assert_array_equal(found.frame(0, 3), noise(3))
    assert not list((tmp_path / "frames").glob("*.tmp"))


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with FramesWriter(tmp_path), pytest.raises(InUse, match="frames"):
        FramesWriter(tmp_path)


def test_a_frame_that_was_not_stored_says_how_to_store_it(tmp_path: Path) -> None:
    assert len(Frames.open(tmp_path)) == 0
    write(tmp_path, 0, range(2))
    with pytest.raises(UnknownName, match=r"No frame of episode 0 step 9 .* policyscope frames"):
        Frames.open(tmp_path).frame(0, 9)


def test_damage_is_told(tmp_path: Path) -> None:
    write(tmp_path, 0, range(2))
    picture, index = (tmp_path / "frames" / f"ep0-0000.{kind}" for kind in ("webp", "json"))
    data = picture.read_bytes()
    for damaged in (data[:-3], bytes([*data[:40], data[40] ^ 1, *data[41:]]), b""):
        picture.write_bytes(damaged)
        with pytest.raises(CorruptFile, match=r"ep0-0000\.webp cannot be read: its checksum"):
            Frames.open(tmp_path).frame(0, 0)
    picture.write_bytes(data)
    facts = json.loads(index.read_text())
    index.write_text(json.dumps({**facts, "width": 8}))
    with pytest.raises(CorruptFile, match="its size is not what"):
        Frames.open(tmp_path).frame(0, 0)
    for wrong in ({"steps": []}, {"columns": "x"}, {"picture": "../../secret.webp"}):
        index.write_text(json.dumps({**facts, **wrong}))
        with pytest.raises(CorruptFile, match="no index of frames"):
            Frames.open(tmp_path)
    index.write_text(json.dumps({**facts, "format_version": 2}))
    with pytest.raises(NewerFormat, match="version 2"):
        Frames.open(tmp_path)


def test_without_pillow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, 0, range(2))
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    monkeypatch.delattr("PIL.Image")
    assert Frames.open(tmp_path).steps(0) == (0, 1)
    with pytest.raises(MissingExtra, match=r"pillow .* 'policyscope\[frames\]'"):
        Frames.open(tmp_path).frame(0, 0)
    with pytest.raises(MissingExtra, match="policyscope"):
        FramesWriter(tmp_path)


def test_thumbnails_are_small(tmp_path: Path) -> None:
    path = tmp_path / "small.webp"
    path.write_bytes(thumbnail(noise(0, 400, 600), 160))
    with PIL.Image.open(path) as small:
        assert small.size == (160, 107)
