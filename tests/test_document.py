"""Documents are strict JSON whatever they are made of, and written whole or not at all."""

import errno
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policyscope.document import as_text, check_place, read_document, strict, write_document
from policyscope.errors import CorruptFile, DiskFull, InvalidInput

numbers = st.one_of(st.floats(), st.integers(), st.booleans(), st.none(), st.text())
values = st.recursive(
    numbers, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)


def refuse_constant(name: str) -> Any:
    raise AssertionError(f"{name} is not JSON")


@given(st.dictionaries(st.text(), values))
def test_text_is_strict_json_and_reads_back_as_what_is_known(document: dict[str, Any]) -> None:
    text = as_text(document)
    assert json.loads(text, parse_constant=refuse_constant) == strict(document)


def test_numpy_values_become_numbers_and_what_is_not_known_null() -> None:
    found = strict({"a": np.float32(1.5), "b": np.array([1.0, np.nan]), 3: (math.inf, np.int64(2))})
    assert found == {"a": 1.5, "b": [1.0, None], "3": [None, 2]}


def test_document_survives_writing_and_reading(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "étude.json"
    write_document(path, {"α": 1})
    assert read_document(path) == {"α": 1}
    assert [found.name for found in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    path = tmp_path / "kept.json"
    write_document(path, {"kept": True})

    def full(*args: Any, **options: Any) -> int:
        raise OSError(code, "no room")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(DiskFull, match=r"No room for .*kept\.json"):
        write_document(path, {"kept": False})
    assert read_document(path) == {"kept": True}
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff\xfe\x00", b'{"a": 1'])
def test_damaged_document_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "damaged.json"
    path.write_bytes(content)
    with pytest.raises(CorruptFile, match=r"damaged\.json"):
        read_document(path)


def test_place_is_made_before_the_work(tmp_path: Path) -> None:
    check_place(tmp_path / "new" / "file.txt")
    assert (tmp_path / "new").is_dir()
    (tmp_path / "file").touch()
    for hopeless in (tmp_path / "file" / "below.txt", tmp_path / "new", Path("/")):
        with pytest.raises(InvalidInput, match="Cannot write"):
            check_place(hopeless)
