"""Small recordings with known contents."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from policyscope.recordings.block import Block
from policyscope.recordings.episode import Episode
from policyscope.recordings.format import ColumnSpec, RecordingHeader
from policyscope.recordings.writer import RecordingWriter

COLUMNS = (
    ColumnSpec("fc1:out", "site", "float32", (3,)),
    ColumnSpec("half:out", "site", "float16", (2,)),
    ColumnSpec("conv:out", "site", "float32", (2, 3, 2)),
    ColumnSpec("value", "output", "float64"),
    ColumnSpec("action", "action", "int64"),
    ColumnSpec("terminated", "flag", "bool"),
    ColumnSpec("pole_angle", "metric", "float32", (), "rad"),
)


class Plan:
    """Makes blocks whose every value is known from (column, episode, step)."""

    columns = COLUMNS

    def header(self, rows: int = 4, **changes: object) -> RecordingHeader:
        facts: dict[str, object] = {
            "columns": COLUMNS,
            "agent": {"fingerprint": "a1"},
            "environment": {"id": "Planted-v0"},
            "seed": 7,
            "rows": rows,
            "created": "2024-01-01T00:00:00+00:00",
        }
        return RecordingHeader(**{**facts, **changes})  # pyright: ignore[reportArgumentType]

    def values(self, spec: ColumnSpec, episode: np.ndarray, step: np.ndarray) -> np.ndarray:
        """A number that differs by column, episode, step and unit, and survives float16."""
        unit = np.arange(int(np.prod(spec.shape))).reshape(spec.shape)
        place = (episode * 31 + step * 7).reshape(*episode.shape, *[1] * len(spec.shape))
        return ((place + unit + len(spec.name)) % 251).astype(spec.dtype)

    def block(
        self, episode: np.ndarray, step: np.ndarray, ended: tuple[Episode, ...] = ()
    ) -> Block:
        columns = {spec.name: self.values(spec, episode, step) for spec in COLUMNS}
        return Block(columns, episode.astype(np.int32), step.astype(np.int32), ended)

    def steady(self, number: int, steps: int = 5, rows: int = 4) -> Block:
        """Block `number` of a rollout in which row r plays episode r for ever."""
        episode = np.broadcast_to(np.arange(rows), (steps, rows))
        step = np.broadcast_to(number * steps + np.arange(steps)[:, None], (steps, rows))
        return self.block(episode, step)

    def ended(self, index: int, length: int = 5) -> Episode:
        return Episode(index, 100 + index, 0, length, float(length), "survived", False, True)

    def write(self, directory: Path, blocks: int, *, resume: bool = False, first: int = 0) -> None:
        with RecordingWriter(directory, self.header(), resume=resume) as writer:
            for number in range(first, first + blocks):
                writer.write(self.steady(number))


@pytest.fixture
def plan() -> Plan:
    return Plan()


@pytest.fixture
def recorded(tmp_path: Path, plan: Plan) -> Path:
    """A recording of three shards."""
    plan.write(tmp_path / "main", blocks=3)
    return tmp_path / "main"


@pytest.fixture
def flip() -> Callable[[Path, int], None]:
    """Flips one bit of a file."""

    def flip_bit(path: Path, offset: int) -> None:
        data = bytearray(path.read_bytes())
        data[offset] ^= 4
        path.write_bytes(data)

    return flip_bit


def same(given: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> None:
    assert given.keys() == wanted.keys()
    for name, values in wanted.items():
        np.testing.assert_array_equal(given[name], values)
