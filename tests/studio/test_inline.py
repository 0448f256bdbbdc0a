"""One HTML file holds what its pages ask for, and asks nobody for anything."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from policyscope.errors import InvalidInput, UnknownName
from policyscope.studies.labels import GivenLabel, Labels
from policyscope.studies.study import Study
from policyscope.studies.views.views import Views
from policyscope.studio.inline import AROUND, inline, next_place

DOCUMENTS = re.compile(r'<script type="application/json" id="documents">(.*?)</script>', re.DOTALL)


def documents(path: Path) -> dict[str, Any]:
    (text,) = DOCUMENTS.findall(path.read_text("utf-8"))
    return json.loads(text)


def test_the_file_holds_the_documents_of_its_features(own_study: Study, tmp_path: Path) -> None:
    path = inline(own_study, tmp_path / "out.html", features=["layer2/k4#0", "layer2/k4#3"])
    found, views = documents(path), Views(own_study)
    for name in ("overview", "feature/layer2/k4/3", "episodes/main", "correlations/layer2/k4"):
        assert found[name] == views.get(name)
    assert "feature/layer2/k4/1" not in found
    assert [row["index"] for row in found["features/layer2/k4"]["features"]] == [0, 3]
    for group in found["feature/layer2/k4/0"]["intervals"]:
        for moment in group["moments"]:
            episode, step = re.fullmatch(r"main/ep(\d+)@(\d+)", moment["moment"]).groups()  # type: ignore[union-attr]
            first, last = max(0, int(step) - AROUND), int(step) + AROUND
            assert found[f"clip/main/{episode}?from={first}&to={last}"] is None


def test_pictures_are_in_the_file(own_study: Study, tmp_path: Path) -> None:
    pytest.importorskip("pygame", reason="needs the extra [frames]")
    own_study.frames(dictionary="layer2/k4")
    found = documents(inline(own_study, tmp_path / "out.html"))
    clips = [clip for path, clip in found.items() if path.startswith("clip/") and clip]
    assert clips
    for clip in clips:
        (sheet,) = clip["sheets"]
        assert found[sheet["path"]].startswith("data:image/webp;base64,")


def test_nothing_is_asked_of_anybody(own_study: Study, tmp_path: Path) -> None:
    text = inline(own_study, tmp_path / "out.html").read_text("utf-8")
    assert "default-src 'none'" in text
    markup = re.sub(r"<(script|style)\b.*?</\1>", "", text, flags=re.DOTALL)
    assert not re.findall(r'(?:src|href)="(?!data:)', markup)


def test_a_label_cannot_break_out(own_study: Study, tmp_path: Path) -> None:
    text = "</script><script>alert(1)</script><!--"
    Labels(own_study.directory).add(GivenLabel("layer2/k4", 0, text, "guess"))
    path = inline(own_study, tmp_path / "out.html")
    assert documents(path)["feature/layer2/k4/0"]["label"] == text
    assert "<script>alert" not in path.read_text("utf-8")


def test_a_file_has_a_name_of_its_own(own_study: Study) -> None:
    first = inline(own_study, pages=["overview"])
    assert first.name == "studio-1.html"
    assert next_place(own_study).name == "studio-2.html"


def test_what_cannot_be_is_refused(own_study: Study, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="page"):
        inline(own_study, pages=["nothing"])
    with pytest.raises(InvalidInput, match="directory"):
        inline(own_study, tmp_path)
    with pytest.raises(UnknownName):
        inline(own_study, tmp_path / "out.html", features=["layer2/k4#77"])


def test_the_command_writes_it(command, own_study: Study, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    done = command("studio", own_study.directory, "--export", out, "--json").document
    assert done == {"file": str(out)}
    assert documents(out)["overview"]["name"] == "study"
