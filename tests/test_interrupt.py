"""Ctrl-C in a long command, and two processes at one study: a clear end, and nothing lost."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from policyscope.recordings.recording import Recording
from policyscope.studies.study import Study

STOPPED = (
    "policyscope: stopped. Everything committed before is kept; "
    "a recording goes on with --resume."
)
FOREVER = str(10**7)
RECORD = ("--site", "fc2:in", "--rows", "4", "--name", "long", "--steps")
FIT = ("--reads", "fc2:in", "--writes", "fc3:in", "--name", "long", "--epochs", FOREVER)
LONG_COMMANDS = {
    "record": (*RECORD, FOREVER),
    "fit": (*FIT, "relu", "--width", "4"),
    "evaluate": ("--episodes", FOREVER),
    "sweep": ("layer2/k4", "--episodes", "100000", "--random-directions", "0"),
    "nudge": ("layer2/k4", "--episodes", "100000", "--random-directions", "0"),
}

pytestmark = pytest.mark.slow


class Running:
    """A command in a process of its own, read until it is at work."""

    def __init__(self, *words: object) -> None:
        entry = Path(sys.executable).with_name("policyscope")
        environment = {name: v for name, v in os.environ.items() if name != "NO_PROGRESS"}
        self.process = subprocess.Popen(
            [str(entry), *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**environment, "OMP_NUM_THREADS": "1"},
        )

    def wait_for(self, said: str) -> None:
        """Reads its progress up to the line that has `said` in it."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if said in line:
                return
        pytest.fail(f"ended without saying {said!r}: {self.process.communicate()}")

    def interrupt(self) -> tuple[int, str, list[str]]:
        """Ctrl-C: the exit code, what is on stdout, and the lines on stderr from then on."""
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err.strip().splitlines()

    def kill(self) -> None:
        """Ends it whatever it does."""
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def running(
    made_study: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, tuple[Path, Running]]]:
    """Every long command at work, each in a study of its own."""
    place = tmp_path_factory.mktemp("long")
    begun = {}
    for name, words in LONG_COMMANDS.items():
        study = Path(shutil.copytree(made_study, place / name))
        begun[name] = (study, Running(name, study, *words))
    yield begun
    for _, one in begun.values():
        one.kill()


@pytest.mark.parametrize("name", list(LONG_COMMANDS))
def test_second_process_is_turned_away_and_interrupt_keeps_what_is_committed(
    command, running: dict[str, tuple[Path, Running]], name: str
) -> None:
    study, one = running[name]
    one.wait_for(" of ")
    complaint = command(name, study, *LONG_COMMANDS[name]).complaint
    assert f"is being written by process {one.process.pid}" in complaint
    code, out, lines = one.interrupt()
    assert (code, out, lines[-1]) == (130, "", STOPPED)
    assert not any("Traceback" in line for line in lines)
    kept = Study.open(study)
    assert kept.dictionaries() == ["layer2/k4"]
    Recording.open(study / "recordings/main").verify()
    if name == "record":
        long = kept.recording("long")
        long.verify()
        assert long.steps > 0
        more = command("record", study, *RECORD, long.steps + 10, "--resume", "--json")
        assert more.document["steps"] == long.steps + 10


def test_interrupted_demo_leaves_a_study_that_opens(tmp_path: Path) -> None:
    one = Running("demo", "--quick", "--out", tmp_path / "study")
    one.wait_for("── Fitting")
    code, out, lines = one.interrupt()
    assert (code, out, lines[-1]) == (130, "", STOPPED)
    assert len(Study.open(tmp_path / "study").recording().episodes) == 30
