"""The token of a study's studio: kept for its owner alone, and not for long."""

import os
import stat
from pathlib import Path

import pytest

from policyscope.studio.token import SECONDS_KEPT, place_of, token_of


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLICYSCOPE_STATE", str(tmp_path / "state"))


def test_it_stays_for_half_a_day(tmp_path: Path) -> None:
    study = tmp_path / "study"
    first = token_of(study)
    assert token_of(study) == first
    old = place_of(study).stat().st_mtime - SECONDS_KEPT - 60
    os.utime(place_of(study), (old, old))
    assert token_of(study) != first


def test_every_study_has_its_own(tmp_path: Path) -> None:
    assert token_of(tmp_path / "one") != token_of(tmp_path / "other")


@pytest.mark.skipif(os.name == "nt", reason="files have no such modes there")
def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    study = tmp_path / "study"
    first = token_of(study)
    assert stat.S_IMODE(place_of(study).stat().st_mode) == 0o600
    place_of(study).chmod(0o644)
    assert token_of(study) != first


def test_where_nothing_can_be_kept_it_is_new(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file, not a folder")
    assert token_of(tmp_path / "study") != token_of(tmp_path / "study")
