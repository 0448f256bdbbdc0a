"""Pictures of recorded moments: of those very moments, or none at all."""

import importlib.util
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from torch import nn

from policyscope.address import Site
from policyscope.agents.adapters.torch import TorchAgent
from policyscope.envs import vector
from policyscope.envs.make import make, make_drawable
from policyscope.errors import EnvironmentFailed, InvalidInput, MissingExtra, UnknownName
from policyscope.recordings.recording import Recording
from policyscope.rollouts.record import record_rollout
from policyscope.rollouts.replay import record_frames, replay, seed_of
from policyscope.testing.planted import CountingEnvironment, counting_agent

pytest.importorskip("PIL", reason="needs the extra [frames]")
needs_pygame = pytest.mark.skipif(
    importlib.util.find_spec("pygame") is None, reason="needs the extra [frames]"
)


def record(directory: Path, id: str, steps: int = 60, **arguments: Any) -> Recording:
    """A recording of a random agent, which samples its actions, in three rows."""
    env = make(id, 1, **arguments)
    size = int(np.prod(env.observation_space.shape or ()))
    choices = env.action_space.n  # type: ignore[attr-defined]
    env.close()
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(size, int(choices)))
    return record_rollout(
        TorchAgent(module, environment=id),
        lambda rows: make(id, rows, **arguments),
        directory / "main",
        sites=[Site.parse("1:in")],
        steps=steps,
        rows=3,
        seed=5,
    )


def drawable(id: str, **arguments: Any) -> Any:
    return lambda rows: make_drawable(id, rows, **arguments)


@needs_pygame
@pytest.mark.parametrize("id", ["CartPole-v1", "Acrobot-v1", "MountainCar-v0"])
def test_pictures_are_what_gymnasium_draws_of_the_recorded_states(tmp_path: Path, id: str) -> None:
    recording = record(tmp_path, id)
    frames = record_frames(recording, drawable(id), episodes=[1], every=4)
    past = recording.episode(1)
    assert frames.steps(1) == tuple(past["step"][::4].tolist())
    single = gymnasium.make(id, render_mode="rgb_array")
    single.reset(seed=seed_of(recording, 1))
    for step, action in enumerate(past["action"]):
        if step % 4 == 0:
            np.testing.assert_array_equal(frames.frame(1, step), single.render())
        single.step(action)
    single.close()


@needs_pygame
def test_all_episodes_are_drawn_where_none_are_named(tmp_path: Path) -> None:
    recording = record(tmp_path, "CartPole-v1", steps=90)
    assert len(recording.episodes) > 1
    frames = record_frames(recording, drawable("CartPole-v1"), every=10)
    every = np.unique(recording.read("episode")).tolist()
    assert list(frames.episodes()) == every
    # The unfinished too, whose seeds no episode's facts tell.
    assert len(every) > len(recording.episodes)


@needs_pygame
def test_moments_are_drawn_once(tmp_path: Path) -> None:
    recording = record(tmp_path, "CartPole-v1")
    made: list[int] = []

    def counted(rows: int) -> Any:
        made.append(rows)
        return make_drawable("CartPole-v1", rows)

    moments = ["main/ep0@3", "main/ep2@0", "main/ep0@3"]
    frames = record_frames(recording, counted, moments=moments)
    assert [(e, frames.steps(e)) for e in frames.episodes()] == [(0, (3,)), (2, (0,))]
    again = record_frames(recording, counted, moments=moments)
    assert again.sheets == frames.sheets
    assert made == [1]
    more = record_frames(recording, counted, moments=["main/ep0@4"], episodes=[2], every=5)
    assert more.steps(0) == (3, 4)
    assert 5 in more.steps(2)


@pytest.mark.parametrize("id", ["ALE/MsPacman-v5", "PongNoFrameskip-v4"])
def test_atari_is_drawn_in_colour(tmp_path: Path, id: str) -> None:
    pytest.importorskip("ale_py", reason="needs the extra [atari]")
    recording = record(tmp_path, id, steps=45)
    frames = record_frames(recording, drawable(id), episodes=[0], every=7)
    assert frames.steps(0) == (0, 7, 14)
    first = frames.frame(0, 0)
    assert first.shape == (210, 160, 3)
    assert not np.array_equal(first, frames.frame(0, 14))
    with pytest.raises(InvalidInput, match="Make it with ram=True"):
        make(id, 1).picture(0)


def test_procgen_is_drawn_as_it_is_seen(tmp_path: Path) -> None:
    if importlib.util.find_spec("procgen") is None:
        pytest.skip("needs Procgen")
    recording = record(tmp_path, "procgen-heist-v0", steps=30)
    frames = record_frames(recording, drawable("procgen-heist-v0"), episodes=[0])
    for step, seen in enumerate(recording.episode(0)["observation"]):
        np.testing.assert_array_equal(frames.frame(0, step), seen)


class Drifting(CountingEnvironment):
    """Observes something else from the third step of an episode on."""

    drift = 0.0

    def step(self, action: Any) -> Any:
        transition = super().step(action)
        self.observation = np.array(self.observation)
        self.observation[self.observation[:, 1] >= 3] += self.drift
        return transition

    def picture(self, row: int) -> np.ndarray:
        return np.full((2, 2, 3), int(self.observation[row, 1]), np.uint8)


def counted(directory: Path) -> Recording:
    return record_rollout(
        counting_agent(), CountingEnvironment, directory / "main", sites=[], episodes=6, rows=2
    )


def test_an_environment_that_does_not_repeat_itself_is_refused(tmp_path: Path) -> None:
    recording = counted(tmp_path)
    (long, *_) = [one.index for one in recording.episodes if one.length > 4]

    class Elsewhere(Drifting):
        drift = 0.5

    with pytest.raises(EnvironmentFailed, match="another observation at step 3") as caught:
        record_frames(recording, Elsewhere, episodes=[long])
    assert f"episode {long} with seed {seed_of(recording, long)}" in str(caught.value)
    # What came before was seen as it was recorded, and stays.
    assert record_frames(recording, Drifting, moments=[]).steps(long) == (0, 1, 2)


def test_an_episode_that_ends_early_is_refused(tmp_path: Path) -> None:
    recording = counted(tmp_path)
    (long, *_) = [one.index for one in recording.episodes if one.length > 4]

    class Short(Drifting):
        def step(self, action: Any) -> Any:
            transition = super().step(action)
            transition.terminated[:] = True
            return transition

    with pytest.raises(EnvironmentFailed, match="now ends at step 0"):
        list(replay(recording, Short, {long: [0, 2]}))


def test_what_was_not_recorded_is_refused(tmp_path: Path) -> None:
    recording = counted(tmp_path)
    with pytest.raises(UnknownName, match="No episode 99"):
        record_frames(recording, Drifting, episodes=[99])
    with pytest.raises(UnknownName, match="No step 999"):
        record_frames(recording, Drifting, moments=["main/ep0@999"])
    with pytest.raises(UnknownName, match="asked for step 999"):
        list(replay(recording, Drifting, {0: [999]}))
    with pytest.raises(InvalidInput, match="another recording"):
        record_frames(recording, Drifting, moments=["other/ep0@0"])
    with pytest.raises(InvalidInput, match="every is 0"):
        record_frames(recording, Drifting, every=0)


def test_what_cannot_be_drawn_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = counted(tmp_path)
    with pytest.raises(InvalidInput, match="cannot be drawn"):
        record_frames(recording, CountingEnvironment)
    plain = make("MountainCar-v0", 1)
    with pytest.raises(InvalidInput, match="make_drawable"):
        plain.picture(0)
    with pytest.raises(InvalidInput, match="expected uint8"):
        vector.as_image("Odd-v0", np.zeros((2, 2)))

    def without(*_: Any) -> Any:
        raise gymnasium.error.DependencyNotInstalled("pygame is not installed")

    monkeypatch.setattr("gymnasium.envs.classic_control.MountainCarEnv.render", without)
    drawn = make_drawable("MountainCar-v0", 1)
    drawn.reset(np.arange(1), [0])
    with pytest.raises(MissingExtra, match=r"policyscope\[frames\]"):
        drawn.picture(0)
    drawn.close()
