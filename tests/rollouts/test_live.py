"""Live play is the play of any rollout: edits show at once, and every step can be revisited."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from policyscope.agents.adapters.torch import TorchAgent
from policyscope.agents.architectures import MLP
from policyscope.dictionaries.relu import ReLU
from policyscope.envs.environment import Environment
from policyscope.envs.make import make
from policyscope.errors import InvalidInput
from policyscope.interventions.steer import steer
from policyscope.rollouts.live import AGENT, TWIN, Live
from policyscope.rollouts.rollout import Plan, rollout
from policyscope.rollouts.rows import Job
from policyscope.testing.planted import unit_features

ENVIRONMENTS: dict[str, Callable[[int], Environment]] = {
    "its own vector form": lambda rows: make("CartPole-v1", rows),
    "Gymnasium's rows": lambda rows: make("CartPole-v1", rows, processes=False, render_mode=None),
}


def agent() -> TorchAgent:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TorchAgent(MLP([4, 16, 8, 2]), name="random")


def dictionary() -> ReLU:
    return unit_features(8, site="fc3:in")


@pytest.fixture(params=list(ENVIRONMENTS))
def live(request: pytest.FixtureRequest) -> Iterator[Live]:
    with Live(agent(), ENVIRONMENTS[request.param], dictionary()) as made:
        yield made


def play(live: Live, steps: int) -> list[np.ndarray]:
    """What is observed at each of so many steps."""
    seen = []
    for _ in range(steps):
        seen.append(np.array(live.environment.observation))
        live.look()
        live.advance()
    return seen


def test_it_is_the_rollout_that_a_recording_holds(live: Live) -> None:
    live.begin(7)
    environment = make("CartPole-v1", 1)
    blocks = list(rollout(agent(), environment, [Job(0, 7)], Plan(reads=[dictionary().reads])))
    past = {name: np.concatenate([b.columns[name] for b in blocks]) for name in blocks[0].columns}
    (episode,) = (one for block in blocks for one in block.ended)
    for step in range(episode.length):
        sight = live.look()
        assert sight.step == step
        assert sight.action[AGENT] == sight.action[TWIN] == past["action"][step, 0]
        np.testing.assert_allclose(
            sight.outputs["logits"][AGENT], past["logits"][step, 0], atol=1e-6
        )
        np.testing.assert_allclose(sight.codes[AGENT], past["fc3:in"][step, 0], atol=1e-6)
        live.advance()
    assert live.is_over
    assert live.look().endings == (episode.ending,) * 2
    assert live.look().total[AGENT] == episode.total_reward
    assert live.look().diverged is None
    assert live.environment.rows == 2
    live.advance()
    assert live.step == episode.length


def test_an_edit_shows_at_once_and_never_in_the_twin(live: Live) -> None:
    live.begin(3)
    play(live, 5)
    before = live.look()
    live.edit(steer(dictionary()[2], 40.0))
    after = live.look()
    assert after.step == before.step
    assert not np.allclose(after.outputs["logits"][AGENT], before.outputs["logits"][AGENT])
    np.testing.assert_array_equal(after.outputs["logits"][TWIN], before.outputs["logits"][TWIN])
    # The dictionary reads where it writes: it sees the edit.
    np.testing.assert_allclose(after.codes[AGENT, 2], before.codes[AGENT, 2] + 40)
    np.testing.assert_array_equal(after.codes[TWIN], before.codes[TWIN])


def test_the_step_of_divergence_is_the_first_other_action(live: Live) -> None:
    live.begin(3)
    play(live, 4)
    assert live.look().diverged is None
    live.held = 1 - int(live.look().action[TWIN])
    assert live.look().diverged == 4
    live.advance()
    live.held = None
    assert live.look().diverged == 4
    observation = np.asarray(live.environment.observation)
    assert not np.allclose(observation[AGENT], observation[TWIN])


def test_agent_and_twin_look_the_same_until_they_part(live: Live) -> None:
    live.begin(3)
    play(live, 3)
    assert live.is_together
    live.look()
    live.held = 1 - int(live.look().action[TWIN])
    live.look()
    assert live.is_together  # what it does shows in the next step
    live.advance()
    assert not live.is_together
    live.held = None
    play(live, 2)
    live.rewind(4)
    assert not live.is_together
    live.branch()
    assert live.is_together
    live.rewind(2)
    assert live.is_together


def test_going_back_is_exact_however_often(live: Live) -> None:
    live.begin(5)
    first = play(live, 9)
    for step in (9, 4, 0, 3):
        if live.step < step:
            play(live, step - live.step)
        live.rewind(step)
        assert live.step == step
        if step < 9:
            np.testing.assert_array_equal(live.environment.observation, first[step])
            assert live.look().total[AGENT] == step
    again = play(live, 6)
    np.testing.assert_array_equal(again, first[3:])
    with pytest.raises(InvalidInput, match="not between 0 and 9"):
        live.rewind(10)


def test_of_a_long_episode_few_moments_are_kept_and_all_are_reached(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("policyscope.rollouts.live.SNAPSHOT_STEPS", 2)
    monkeypatch.setattr("policyscope.rollouts.live.MOST_SNAPSHOTS", 2)
    live.begin(5)
    seen = play(live, 9)
    kept = [step for step, past in enumerate(live.past) if past.snapshots is not None]
    assert kept == [0, 8]
    for step in (8, 5, 3):
        live.rewind(step)
        np.testing.assert_array_equal(live.environment.observation, seen[step])
    np.testing.assert_array_equal(play(live, 6), seen[3:])


def test_a_branch_begins_with_a_copy_of_the_agent(live: Live) -> None:
    live.begin(3)
    play(live, 4)
    live.held = 1 - int(live.look().action[TWIN])
    play(live, 2)
    live.held = None
    live.branch()
    observation = np.asarray(live.environment.observation)
    np.testing.assert_array_equal(observation[AGENT], observation[TWIN])
    assert live.look().diverged is None
    seen = play(live, 3)
    live.rewind(6)
    np.testing.assert_array_equal(live.environment.observation, seen[0])
    np.testing.assert_array_equal(play(live, 3), seen)


def test_a_twin_whose_episode_is_over_waits(live: Live) -> None:
    live.begin(2)
    other = Live(agent(), ENVIRONMENTS["its own vector form"], dictionary(), has_twin=False)
    with other:
        other.begin(2)
        while not other.is_over:
            other.look()
            other.advance()
        length = other.step
    for _ in range(length + 3):
        # Held upright by hand, the agent outlives its twin.
        angle, speed = np.asarray(live.environment.observation)[AGENT, 2:]
        live.look()
        live.held = int(angle + 0.3 * speed > 0)
        live.look()
        live.advance()
    sight = live.look()
    assert sight.endings[TWIN] is not None
    assert sight.endings[AGENT] is None
    assert sight.total[TWIN] == length
    assert sight.total[AGENT] == length + 3
