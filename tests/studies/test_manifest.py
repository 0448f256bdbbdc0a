"""study.json reads back as it was written, and says what is wrong when it cannot."""

from pathlib import Path

import pytest

from policyscope.document import read_document, write_document
from policyscope.errors import CorruptFile, InvalidInput, NewerFormat, UnknownName
from policyscope.studies.manifest import Manifest, read_manifest, write_manifest

AGENT = {
    "spec": "m:f",
    "file": None,
    "folder": "/here",
    "reopen": None,
    "fingerprint": "0123",
}


def test_manifest_survives_writing_and_reading(tmp_path: Path) -> None:
    made = Manifest(AGENT, {"id": "CartPole-v1", "arguments": {"a": 1}}, seed=3)
    write_manifest(tmp_path, made)
    assert read_manifest(tmp_path) == made
    assert {"python", "torch", "policyscope"} <= made.versions.keys()


def test_keys_of_a_later_release_of_the_same_format_are_passed_over(tmp_path: Path) -> None:
    write_manifest(tmp_path, Manifest(AGENT, {"id": "E", "arguments": {}}))
    path = tmp_path / "study.json"
    write_document(path, {**read_document(path), "new": 1})
    assert read_manifest(tmp_path).agent == AGENT


def test_missing_study_has_a_suggestion(tmp_path: Path) -> None:
    write_manifest(tmp_path / "cartpole", Manifest(AGENT, {"id": "E", "arguments": {}}))
    with pytest.raises(UnknownName, match=r"Did you mean '.*cartpole'\? .* policyscope new"):
        read_manifest(tmp_path / "cartpoel")


def test_file_is_no_study(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match="cannot be a study"):
        read_manifest(tmp_path / "file")


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"format": 2}, NewerFormat, "reads up to 1"),
        ({"format": None}, CorruptFile, "no format number"),
        ({"agent": 3}, CorruptFile, "lacks agent with"),
        ({"agent": {}}, CorruptFile, "fingerprint"),
        ({"environment": {"id": "E"}}, CorruptFile, "arguments"),
    ],
)
def test_wrong_manifest_is_refused(
    tmp_path: Path, change: dict[str, object], error: type[Exception], said: str
) -> None:
    write_manifest(tmp_path, Manifest(AGENT, {"id": "E", "arguments": {}}))
    path = tmp_path / "study.json"
    write_document(path, {**read_document(path), **change})
    with pytest.raises(error, match=said):
        read_manifest(tmp_path)
