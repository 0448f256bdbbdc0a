"""Settings of every test, and a small study with the command line in hand to look at it."""

import json
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

from policyscope.agents.agent_file import save_agent
from policyscope.agents.architectures import MLP
from policyscope.cli import main

# No deadline: time is what benchmarks measure, and a shared machine has none to promise.
settings.register_profile("policyscope", deadline=None, derandomize=True)
settings.load_profile("policyscope")

torch.set_num_threads(1)

# A shell that runs the tests in the background has them ignore interrupts, and so would every
# command that a test starts in order to interrupt it.
signal.signal(signal.SIGINT, signal.default_int_handler)

FIT = ("--reads", "fc2:in", "--writes", "fc3:in", "--seeds", "2", "--epochs", "3")


@dataclass(frozen=True)
class Ran:
    """What one command left: its exit code, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)

    @property
    def complaint(self) -> str:
        """The one line on stderr of a command that could not do it."""
        assert self.code == 1, self
        assert not self.out
        (line,) = self.err.strip().splitlines()
        assert line.startswith("policyscope: ")
        return line


Command = Callable[..., Ran]


@pytest.fixture(autouse=True, scope="session")
def _own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests leave no mark in the folders of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POLICYSCOPE_STATE", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command line in this process; without progress, so that stderr is complaints."""
    monkeypatch.setenv("NO_PROGRESS", "1")

    def run(*words: object) -> Ran:
        capsys.readouterr()
        try:
            code = main([str(word) for word in words])
        except SystemExit as left:
            code = int(left.code or 0)
        said = capsys.readouterr()
        return Ran(code, said.out, said.err)

    return run


@pytest.fixture(scope="session")
def agent_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CartPole agent: it pushes to where the pole leans, among random weights."""
    torch.manual_seed(0)
    module = MLP([4, 16, 8, 2])
    path = tmp_path_factory.mktemp("agent") / "tiny.safetensors"
    save_agent(
        path,
        module,
        architecture="mlp",
        arguments={"sizes": [4, 16, 8, 2]},
        name="tiny",
        environment="CartPole-v1",
    )
    return path


@pytest.fixture(scope="session")
def made_study(agent_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with the recording `main` and the dictionary `layer2/k4`; to be left as it is."""
    study = tmp_path_factory.mktemp("studies") / "made"
    record = ("--site", "fc1:in", "fc2:in", "fc3:in", "--steps", "1500", "--rows", "4")
    name = ("--name", "layer2/k4")
    for words in (
        ("new", study, "--agent", agent_file),
        ("record", study, *record),
        ("fit", study, *FIT, *name, "relu", "--width", "4"),
    ):
        assert main([str(word) for word in words]) == 0
    return study


@pytest.fixture
def study(made_study: Path, tmp_path: Path) -> Path:
    """A study of one's own."""
    return Path(shutil.copytree(made_study, tmp_path / "study"))
