"""Every block of the README and the docs runs, in order, in one folder."""

import re
import shlex
from pathlib import Path

import pytest

from policyscope.cli import main

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(python|sh)(?: file=(\S+))?\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[str, str, str]]:
    return BLOCK.findall(page.read_text("utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)], ids=lambda page: page.stem)
def test_every_block_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    for language, file, text in blocks(page):
        if file:
            (tmp_path / file).write_text(text, "utf-8")
        elif language == "python":
            exec(compile(text, str(page), "exec"), names)
        else:
            for line in text.splitlines():
                command = shlex.split(line, comments=True)
                if command[:1] == ["policyscope"]:
                    assert main(command[1:]) == 0, (line, capsys.readouterr().err)
                else:
                    # CI runs make itself; benchmarks take minutes and are run by `make bench`.
                    known = command[:1] in (["make"], []) or command[:2] == ["python", "-m"]
                    assert known, f"{line!r} is neither ours nor make's"


def test_the_command_table_is_complete() -> None:
    from policyscope.cli import COMMANDS

    listed = re.findall(r"^\| `(\w+)` \|", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    assert listed == list(COMMANDS)
