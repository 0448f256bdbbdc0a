"""The benchmark fits and scores every kind the same way, keeps what it has, and repeats itself."""

import json
from pathlib import Path

import pytest

from policyscope.bench.bench import Amounts, run
from policyscope.bench.page import page
from policyscope.bench.subject import Subject, subjects_in
from policyscope.errors import CorruptFile, InvalidInput, UnknownName

TINY = Amounts(steps=1500, expansion=1, most_width=16, k=2, seeds=1, updates=30, episodes=4)
KINDS = ("pca", "topk", "raw")


def test_every_kind_is_scored_and_a_second_run_finds_it(agent_file: Path, tmp_path: Path) -> None:
    subject = Subject("tiny", str(agent_file))
    found = run([subject], tmp_path / "a", kinds=KINDS, amounts=TINY)
    assert [cell.kind for cell in found.cells] == list(KINDS)
    for cell in found.cells:
        assert not cell.reason
        assert cell.scores["unexplained"] < 1.2
        assert cell.scores["l0"] <= 2 + 1e-9
        assert cell.scores["return_kept"]["episodes"] == TINY.episodes
    kept = (tmp_path / "a" / "bench.json").read_bytes()
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "a").rglob("score.json")}
    run([subject], tmp_path / "a", kinds=KINDS, amounts=TINY)
    assert (tmp_path / "a" / "bench.json").read_bytes() == kept
    assert {p: p.stat().st_mtime_ns for p in before} == before
    other = run([subject], tmp_path / "b", kinds=KINDS, amounts=TINY)
    assert other.to_json() == found.to_json()
    drawn = page(found)
    assert drawn.count("<svg") == 2
    assert "http://" not in drawn.replace("http://www.w3.org/2000/svg", "")
    assert "baseline" in str(found.table())


def test_a_kind_that_cannot_says_why_and_the_others_go_on(agent_file: Path, tmp_path: Path) -> None:
    subjects = [Subject("none", "nowhere.zip"), Subject("tiny", str(agent_file))]
    found = run(subjects, tmp_path, kinds=("skip", "topk"), amounts=TINY)
    assert "nowhere.zip" in found.left_out["none"]
    assert {cell.kind for cell in found.cells} == {"skip", "topk"}
    with pytest.raises(InvalidInput, match="Give another folder"):
        run(subjects, tmp_path, kinds=("topk",), amounts=Amounts())
    with pytest.raises(UnknownName, match="Did you mean 'topk'"):
        run(subjects, tmp_path / "b", kinds=("topp",), amounts=TINY)


def test_a_folder_of_agents_is_read_from_its_manifest(tmp_path: Path) -> None:
    entries = [
        {"dir": "a/cart", "files": ["notes.txt", "one.zip"], "env_run": "CartPole-v1"},
        {"dir": "b", "files": ["notes.txt"], "env_run": "CartPole-v1"},
        {"dir": "c", "files": ["x.pt"], "env_run": "Nowhere-v3"},
    ]
    (tmp_path / "MANIFEST.json").write_text(json.dumps(entries), "utf-8")
    found, left_out = subjects_in(tmp_path)
    assert [(one.name, one.environment) for one in found] == [("a-cart", "CartPole-v1")]
    assert left_out["b"].startswith("none of its files is a checkpoint")
    assert "Nowhere-v3" in left_out["c"]
    (tmp_path / "MANIFEST.json").write_text("{}", "utf-8")
    assert subjects_in(tmp_path) == ([], {})
    (tmp_path / "MANIFEST.json").write_text("[1]", "utf-8")
    with pytest.raises(CorruptFile, match="no manifest of agents"):
        subjects_in(tmp_path)
    with pytest.raises(UnknownName, match="There is no"):
        subjects_in(tmp_path / "elsewhere")
