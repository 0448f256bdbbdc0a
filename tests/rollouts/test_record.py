"""Recording: exact amounts, the same files however often it was interrupted, clear refusals."""

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jaxtyping import Float
from torch import Tensor, nn

from policyscope.address import Site
from policyscope.agents.adapters.torch import TorchAgent
from policyscope.envs.metric import Metric
from policyscope.errors import (
    CorruptFile,
    DiskFull,
    EnvironmentFailed,
    InvalidInput,
    NotFinite,
    UnknownName,
)
from policyscope.recordings.recording import Recording
from policyscope.rollouts import record
from policyscope.rollouts.record import record_rollout
from policyscope.testing.planted import (
    CountingEnvironment,
    counting_agent,
    counting_length,
    is_same,
)

ROWS = 3
BLOCK = 4
SITES = (Site.parse("fc1:in"), Site.parse("fc2:in"))
STEP = Metric("step_read", "steps", lambda step: step.observation[:, 1])
several = settings(
    max_examples=8,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "SHARD_ROWS", ROWS * BLOCK)


class Interrupted(CountingEnvironment):
    """Presses Ctrl-C after so many calls of step."""

    def __init__(self, rows: int, calls: int) -> None:
        super().__init__(rows)
        self.calls = calls

    def step(self, action: Any) -> Any:
        if self.acted >= self.calls * self.rows:
            raise KeyboardInterrupt
        return super().step(action)


def write(directory: Path, **choices: Any) -> Recording:
    how: dict[str, Any] = {"sites": SITES, "metrics": (STEP,), "rows": ROWS} | choices
    agent = how.pop("agent", None) or counting_agent()
    make = how.pop("make", CountingEnvironment)
    return record_rollout(agent, make, directory, **how)


def same_files(left: Recording, right: Recording) -> bool:
    """Whether every shard has the same bytes, the header and its checksums included."""
    return [shard.path.read_bytes() for shard in left.shards] == [
        shard.path.read_bytes() for shard in right.shards
    ]


# ── What is written ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("steps", [1, 2, 3, 50, 61])
def test_the_steps_asked_for_are_recorded_exactly(tmp_path: Path, steps: int) -> None:
    recording = write(tmp_path / "main", steps=steps)
    assert recording.steps == len(recording.read("episode")) == steps


@pytest.mark.parametrize("episodes", [1, 2, 3, 20])
def test_the_episodes_asked_for_are_recorded_whole(tmp_path: Path, episodes: int) -> None:
    recording = write(tmp_path / "main", episodes=episodes)
    assert [episode.index for episode in recording.episodes] == list(range(episodes))
    assert recording.steps == sum(counting_length(seed) for seed in range(episodes))


def test_every_sample_is_its_own(tmp_path: Path) -> None:
    recording = write(tmp_path / "main", episodes=9)
    for episode in recording.episodes:
        columns = recording.episode(episode.index)
        steps = np.arange(counting_length(episode.seed))
        np.testing.assert_array_equal(columns["step"], steps)
        np.testing.assert_array_equal(columns["observation"][:, 0], episode.seed)
        np.testing.assert_array_equal(columns["observation"][:, 1], steps)
        np.testing.assert_array_equal(columns["step_read"], steps)
        np.testing.assert_array_equal(columns["fc2:in"][:, 1], steps)
        earned = 64 * episode.seed + 2 * steps + columns["action"]
        np.testing.assert_array_equal(columns["reward"], earned)
        assert episode.total_reward == earned.sum()


def test_the_header_says_what_the_columns_are(tmp_path: Path) -> None:
    recording = write(tmp_path / "main", steps=5, about_agent={"spec": "planted"})
    specs = {name: (c.kind, c.dtype, c.shape, c.unit) for name, c in recording.columns.items()}
    assert specs == {
        "observation": ("observation", "float32", (3,), ""),
        "action": ("action", "int64", (), ""),
        "reward": ("reward", "float32", (), ""),
        "terminated": ("flag", "bool", (), ""),
        "truncated": ("flag", "bool", (), ""),
        "logits": ("output", "float32", (2,), ""),
        "step_read": ("metric", "float32", (), "steps"),
        "fc1:in": ("site", "float32", (3,), ""),
        "fc2:in": ("site", "float32", (4,), ""),
    }
    assert recording.header.environment == {"id": "Counting-v0", "arguments": {}}
    assert recording.header.agent["spec"] == "planted"
    assert recording.header.rows == ROWS


def test_halves_are_recorded_as_asked(tmp_path: Path) -> None:
    recording = write(tmp_path / "main", steps=20, dtype="float16")
    assert recording.columns["fc2:in"].dtype == "float16"
    assert recording.columns["logits"].dtype == "float32"


# ── Interrupted and resumed ──────────────────────────────────────────────────────────────────────


@several
@given(calls=st.lists(st.integers(0, 40), min_size=1, max_size=3), by_steps=st.booleans())
def test_resumed_after_an_interruption_it_is_the_same_as_never_interrupted(
    tmp_path_factory: pytest.TempPathFactory, calls: list[int], by_steps: bool
) -> None:
    folder = tmp_path_factory.mktemp("recordings")
    amount: dict[str, Any] = {"steps": 100} if by_steps else {"episodes": 17}
    whole = write(folder / "whole", **amount)
    for number, count in enumerate(calls):
        with suppress(KeyboardInterrupt):
            write(
                folder / "cut",
                make=lambda rows, count=count: Interrupted(rows, count),
                resume=number > 0,
                **amount,
            )
    resumed = write(folder / "cut", resume=True, **amount)
    assert same_files(resumed, whole)
    assert resumed.episodes == whole.episodes
    resumed.verify()


def test_an_interruption_keeps_every_whole_block(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "main", steps=100, make=lambda rows: Interrupted(rows, 3 * BLOCK + 1))
    kept = Recording.open(tmp_path / "main")
    assert kept.steps == 3 * BLOCK * ROWS
    kept.verify()


@pytest.mark.parametrize("acted", [0, 40, 100])
def test_resumed_after_a_kill_it_is_the_same_as_never_killed(tmp_path: Path, acted: int) -> None:
    script = Path(__file__).with_name("killed.py")
    killed = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "killed"), str(acted)],
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -9, killed.stderr.decode()
    sites = SITES[1:]
    whole = write(tmp_path / "whole", steps=200, sites=sites, metrics=())
    resumed = write(tmp_path / "killed", steps=200, sites=sites, metrics=(), resume=True)
    assert same_files(resumed, whole)


def test_a_finished_recording_is_left_as_it_is(tmp_path: Path) -> None:
    first = write(tmp_path / "main", steps=50)
    files = [shard.path.read_bytes() for shard in first.shards]
    again = write(tmp_path / "main", steps=50, resume=True)
    fewer = write(tmp_path / "main", steps=20, resume=True)
    assert [shard.path.read_bytes() for shard in again.shards] == files
    assert fewer.steps == 50


@pytest.mark.parametrize("rows", [1, 3, 8])
@pytest.mark.parametrize("first", [1, 2, 30, 36])
def test_appending_to_a_finished_recording_continues_its_episodes(
    tmp_path: Path, rows: int, first: int
) -> None:
    write(tmp_path / "main", steps=first, rows=rows)
    longer = write(tmp_path / "main", steps=90, rows=rows, resume=True)
    assert longer.steps == 90
    for index in np.unique(longer.read("episode")).tolist():
        columns = longer.episode(index)
        assert columns["step"].tolist() == list(range(len(columns["step"])))
        np.testing.assert_array_equal(columns["observation"][:, 0], index)
        np.testing.assert_array_equal(columns["observation"][:, 1], columns["step"])
    for episode in longer.episodes:
        columns = longer.episode(episode.index)
        assert episode.length == counting_length(episode.seed) == len(columns["step"])
        assert episode.total_reward == columns["reward"].sum()


@pytest.mark.parametrize("rows", [1, 3, 8])
def test_more_episodes_can_be_asked_for_again_and_again(tmp_path: Path, rows: int) -> None:
    for number, episodes in enumerate((2, 4, 5, 12)):
        recording = write(tmp_path / "main", episodes=episodes, rows=rows, resume=number > 0)
        assert [episode.index for episode in recording.episodes] == list(range(episodes))
        assert recording.steps == sum(counting_length(seed) for seed in range(episodes))


def test_rows_are_remembered(tmp_path: Path) -> None:
    write(tmp_path / "main", steps=10, rows=5)
    assert write(tmp_path / "main", steps=40, rows=None, resume=True).header.rows == 5


def test_resuming_what_was_never_begun_begins_it(tmp_path: Path) -> None:
    (tmp_path / "main" / "shards").mkdir(parents=True)
    assert write(tmp_path / "main", steps=10, resume=True).steps == 10


# ── What goes wrong ──────────────────────────────────────────────────────────────────────────────


def test_an_environment_that_raises_leaves_what_was_filled(tmp_path: Path) -> None:
    raises = {(7, 5): RuntimeError("the simulator died")}

    def broken(rows: int) -> CountingEnvironment:
        return CountingEnvironment(rows, raises)

    with pytest.raises(EnvironmentFailed, match=r"episode 7 \(seed 7\) at step 5"):
        write(tmp_path / "main", steps=100, make=broken)
    kept = Recording.open(tmp_path / "main")
    assert kept.episode(7)["step"].tolist() == [0, 1, 2, 3, 4]
    mended = write(tmp_path / "main", steps=100, resume=True)
    whole = write(tmp_path / "whole", steps=100)
    assert [e for e in mended.episodes if e.index < 12] == [
        e for e in whole.episodes if e.index < 12
    ]
    for episode in whole.episodes:
        assert is_same(mended.episode(episode.index), whole.episode(episode.index))


class Exploding(nn.Module):
    """A network whose hidden activation is NaN at one step of one seed."""

    def __init__(self, seed: int, step: int) -> None:
        super().__init__()
        self.fc1 = nn.Identity()
        self.fc2 = nn.Linear(3, 2)
        self.seed, self.step = seed, step

    def forward(self, x: Float[Tensor, "row unit"]) -> Float[Tensor, "row action"]:
        bad = (x[:, 0] == self.seed) & (x[:, 1] == self.step)
        return self.fc2(self.fc1(torch.where(bad[:, None], torch.nan, x)))


def test_nan_is_reported_with_site_episode_and_step_and_earlier_shards_stay(
    tmp_path: Path,
) -> None:
    agent = TorchAgent(Exploding(6, 3))
    with pytest.raises(NotFinite, match=r"fc1:in is nan at episode 6, step 3"):
        write(tmp_path / "main", steps=100, agent=agent, sites=SITES[:1])
    kept = Recording.open(tmp_path / "main")
    assert 0 < kept.steps < 100
    kept.verify()
    assert np.isfinite(kept.read("fc1:in")).all()
    assert not agent.module.fc1._forward_pre_hooks  # pyright: ignore


def test_what_an_error_leaves_can_be_resumed(tmp_path: Path) -> None:
    broken, mended = TorchAgent(Exploding(6, 3)), TorchAgent(Exploding(-1, 0))
    mended.module.load_state_dict(broken.module.state_dict())
    with pytest.raises(NotFinite):
        write(tmp_path / "main", steps=100, agent=broken, sites=SITES[:1])
    resumed = write(tmp_path / "main", steps=100, agent=mended, sites=SITES[:1], resume=True)
    assert same_files(resumed, write(tmp_path / "whole", steps=100, agent=mended, sites=SITES[:1]))


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no amount": ({}, "Say how much to record"),
    "two amounts": ({"steps": 1, "episodes": 1}, "Say how much to record"),
    "zero steps": ({"steps": 0}, "steps is 0; expected at least 1"),
    "zero episodes": ({"episodes": 0}, "episodes is 0; expected at least 1"),
    "negative": ({"steps": -3}, "steps is -3; expected at least 1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_amount_that_makes_no_sense_is_refused(tmp_path: Path, name: str) -> None:
    amount, message = REFUSED[name]
    with pytest.raises(InvalidInput, match=message):
        write(tmp_path / "main", **amount)
    assert not (tmp_path / "main").exists()


def no_environment(rows: int) -> CountingEnvironment:
    raise AssertionError("made an environment before everything was checked")


def test_an_unknown_site_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'fc2'"):
        write(tmp_path / "main", steps=9, sites=[Site.parse("fc9:in")], make=no_environment)


def test_a_module_that_is_never_called_is_refused(tmp_path: Path) -> None:
    agent = counting_agent()
    agent.module.add_module("unused", nn.Linear(1, 1))
    with pytest.raises(UnknownName, match="No site called 'unused:in'"):
        write(tmp_path / "main", steps=9, sites=[Site.parse("unused:in")], agent=agent)


def test_an_existing_recording_is_not_overwritten(tmp_path: Path) -> None:
    write(tmp_path / "main", steps=9)
    with pytest.raises(InvalidInput, match=r"There is a recording in .*main already"):
        write(tmp_path / "main", steps=9, make=no_environment)


def test_a_recording_without_its_header_is_not_begun_anew(tmp_path: Path) -> None:
    write(tmp_path / "main", steps=9)
    (tmp_path / "main" / "recording.json").unlink()
    with pytest.raises(CorruptFile, match="has shards but no recording"):
        write(tmp_path / "main", steps=20, resume=True)


class Another(CountingEnvironment):
    """Another environment."""

    id = "Another-v0"


OTHERWISE: dict[str, tuple[dict[str, Any], str]] = {
    "rows": ({"rows": 2}, "rows: 3 there, 2 here"),
    "more rows": ({"rows": 20}, "rows: 3 there, 20 here"),
    "seed": ({"seed": 1}, "seed: 0 there, 1 here"),
    "deterministic": ({"deterministic": True}, "deterministic: false there, true here"),
    "environment": ({"make": Another}, "environment: .*Counting-v0.* there, .*Another-v0.* here"),
    "sites": ({"sites": SITES[:1]}, "fc1:in, fc2:in, step_read there, fc1:in, step_read here"),
    "metrics": ({"metrics": ()}, "step_read there, fc1:in, fc2:in here"),
    "agent": ({"agent": TorchAgent(nn.Sequential())}, "agent: .* there, .* here"),
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_what_was_recorded_otherwise_is_not_continued(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "main", steps=30)
    changed, message = OTHERWISE[name]
    if name == "agent":
        agent = counting_agent()
        with torch.no_grad():
            next(agent.module.parameters()).add_(1.0)
        changed = {"agent": agent}

    def step(self: CountingEnvironment, action: Any) -> Any:
        raise AssertionError("stepped before the headers were compared")

    monkeypatch.setattr(CountingEnvironment, "step", step)
    with pytest.raises(InvalidInput, match=message):
        write(tmp_path / "main", **({"steps": 60, "resume": True} | changed))


def test_too_little_disk_is_found_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage: Callable[..., Any] = type("Usage", (), {"free": 10_000})
    monkeypatch.setattr(record.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DiskFull, match=r"Recording 1,000 steps of .* has 0\.0 GB left"):
        write(tmp_path / "main", steps=1000)
    assert write(tmp_path / "main", steps=20).steps == 20


def test_an_abandoned_temporary_is_cleared_away(tmp_path: Path) -> None:
    write(tmp_path / "main", steps=30)
    stray = tmp_path / "main" / "shards" / "00000009.safetensors.tmp"
    stray.write_bytes(b"half a shard")
    assert write(tmp_path / "main", steps=40, resume=True).steps == 40
    assert not stray.exists()


def test_the_header_is_json_that_anybody_can_read(tmp_path: Path) -> None:
    write(tmp_path / "main", steps=5)
    header = json.loads((tmp_path / "main" / "recording.json").read_text())
    assert header["seed"] == 0
    assert header["conditions"] == ["nothing"]
