"""Ctrl-C in a long command, and two processes at one study: a clear end, and nothing lost."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from policyscope.recordings.recording import Recording
from policyscope.studies.study import Study

STOPPED = "policyscope: stopped. Everything committed before is kept."
# The command line, but progress shows at once: what it shows says that the work is under way.
PROGRAM = """
import sys
from policyscope import cli, progress
progress.SILENCE_SECONDS = 0
sys.exit(cli.main())
"""
ENDED_SECONDS = 120
RECORD = ("--site", "fc2:in", "--rows", "64", "--name", "long", "--steps")
FIT = ("--reads", "fc2:in", "--writes", "fc3:in", "--name", "long", "--epochs", "1000000")
STEER = ("layer2/k4", "--alpha", "1", "--episodes", "20000", "--random-directions", "0")
LONG_COMMANDS = {
    "record": (*RECORD, "10000000"),
    "fit": (*FIT, "relu", "--width", "4"),
    "evaluate": ("--episodes", "100000"),
    "sweep": STEER,
    "nudge": STEER,
}


@contextmanager
def running(*words: object) -> Iterator[subprocess.Popen[str]]:
    """A command in a process of its own, at work."""
    environment = {name: value for name, value in os.environ.items() if name != "NO_PROGRESS"}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment, "OMP_NUM_THREADS": "1"},
    )
    assert process.stderr is not None
    try:
        assert " of " in process.stderr.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("name", list(LONG_COMMANDS))
def test_interrupt_ends_a_command_and_keeps_what_is_committed(
    command, study: Path, name: str
) -> None:
    words = LONG_COMMANDS[name]
    with running(name, study, *words) as process:
        more = ("--resume",) if name == "record" else ()
        complaint = command(name, study, *words, *more).complaint
        assert f"is being written by process {process.pid}" in complaint
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=ENDED_SECONDS)
    assert process.returncode == 130
    assert out == ""
    expected = f"{STOPPED} Go on with --resume." if name == "record" else STOPPED
    assert err.strip().splitlines()[-1] == expected
    assert "Traceback" not in err
    kept = Study.open(study)
    assert kept.dictionaries() == ["layer2/k4"]
    Recording.open(study / "recordings/main").verify()
    if name == "record":
        long = kept.recording("long")
        long.verify()
        steps = long.steps + 10
        again = command("record", study, *RECORD, steps, "--resume", "--json")
        assert again.document["steps"] == steps
