"""The CartPole policy learns, repeats itself, and its numpy forward is its torch forward."""

import json
import math
from itertools import pairwise
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors import safe_open
from torch.nn import functional as F

from policyscope.errors import InvalidInput
from policyscope.zoo.cartpole import (
    Actor,
    CartPolePolicy,
    Checkpoint,
    Trajectory,
    act,
    build,
    improve,
    returns_to_go,
    single_thread,
    train,
    validate,
)


def same_weights(one: Checkpoint, other: Checkpoint) -> bool:
    return all(torch.equal(value, other.weights[name]) for name, value in one.weights.items())


def set_preference(policy: CartPolePolicy, left: float, right: float) -> None:
    """Makes the policy push right with a probability that no observation changes."""
    with torch.no_grad():
        policy.fc3.weight.zero_()
        policy.fc3.bias.copy_(torch.tensor([left, right]))


def test_same_seed_gives_same_weights() -> None:
    first, again, other = train(3, episodes=12), train(3, episodes=12), train(4, episodes=12)
    assert same_weights(first.final, again.final)
    assert np.array_equal(first.returns, again.returns)
    assert not same_weights(first.final, other.final)


def test_training_leaves_the_global_generator_and_threads_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    train(0, episodes=2)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads


def test_training_meets_the_target() -> None:
    trained = train(0)
    # The source's bar, met within its budget of about 2,000 episodes.
    assert trained.is_on_target
    assert trained.final.validation_return >= 200.0
    # Fresh episodes: the mean of 100 has a standard error near 10, and stopping picks lucky draws.
    assert validate(trained.policy, 12345) > 150.0
    assert trained.checkpoints[0].validation_return < 50.0
    assert len(trained.returns) == trained.final.episodes
    assert trained.returns.sum() == trained.final.steps


def test_checkpoints_are_apart_and_the_last_is_the_policy() -> None:
    trained = train(1, episodes=7, validate_every=3)
    assert [checkpoint.episodes for checkpoint in trained.checkpoints] == [0, 3, 6, 7]
    assert not any(same_weights(one, other) for one, other in pairwise(trained.checkpoints))
    for name, value in trained.policy.state_dict().items():
        assert torch.equal(value, trained.final.weights[name])
    assert not trained.is_on_target


def test_infinite_target_trains_through_all_episodes() -> None:
    assert len(train(0, episodes=5, target=math.inf, validate_every=1).returns) == 5


def test_checkpoints_on_disk_are_those_in_memory(tmp_path: Path) -> None:
    trained = train(2, episodes=4, validate_every=2, checkpoint_directory=tmp_path)
    names = ["episode00000.safetensors", "episode00002.safetensors", "episode00004.safetensors"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    for name, checkpoint in zip(names, trained.checkpoints, strict=True):
        with safe_open(tmp_path / name, "pt") as file:
            facts = json.loads(file.metadata()["checkpoint"])
            assert facts["episodes"] == checkpoint.episodes
            assert facts["steps"] == checkpoint.steps
            assert facts["validation_return"] == checkpoint.validation_return
            for weight, value in checkpoint.weights.items():
                assert torch.equal(file.get_tensor(weight), value)


@pytest.mark.parametrize("choices", [{"episodes": 0}, {"validate_every": 0}])
def test_no_episodes_are_refused(choices: dict[str, int]) -> None:
    with pytest.raises(InvalidInput, match="at least one"):
        train(0, **choices)


@given(arrays(np.float32, (5, 4), elements=st.floats(-10, 10, width=32)))
def test_actor_equals_policy(observation: np.ndarray) -> None:
    policy = build(0)
    with torch.no_grad():
        expected = F.softmax(policy(torch.from_numpy(observation)), dim=-1)[:, 1].numpy()
    # Two orders of float32 sums.
    assert np.allclose(Actor(policy).push_right(observation), expected, atol=1e-5)


def test_actor_follows_the_optimizer_in_place() -> None:
    policy = build(0)
    actor = Actor(policy)
    optimizer = torch.optim.Adam(policy.parameters(), lr=0.1, fused=True)
    observation = np.full((1, 4), 0.1, np.float32)
    before = actor.push_right(observation)
    improve(policy, optimizer, Trajectory(observation, np.array([1]), np.ones(1, np.float32)), 0.99)
    assert actor.push_right(observation) > before
    assert actor.push_right(observation) == Actor(policy).push_right(observation)


def test_improve_follows_the_policy_gradient() -> None:
    policy = build(1)
    optimizer = torch.optim.SGD(policy.parameters(), lr=1.0)
    observation = np.linspace(-0.1, 0.1, 12, dtype=np.float32).reshape(3, 4)
    action = np.array([0, 1, 1])
    before = policy.fc3.bias[1].item()
    # d log softmax / d bias is the action's indicator minus its probability.
    surprise = action - Actor(policy).push_right(observation)
    improve(policy, optimizer, Trajectory(observation, action, np.ones(3, np.float32)), 0.5)
    expected = np.array([1.75, 1.5, 1.0]) @ surprise
    assert policy.fc3.bias[1].item() - before == pytest.approx(expected, rel=1e-4)


@given(st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=20), st.floats(0.0, 1.0))
def test_returns_to_go_obey_their_recursion(rewards: list[float], discount: float) -> None:
    reward = np.asarray(rewards, np.float32)
    following = returns_to_go(reward, discount)
    assert following[-1] == reward[-1]
    expected = reward[:-1] + discount * following[1:]
    assert np.allclose(following[:-1], expected, atol=1e-4)


def test_episode_is_sampled_and_aligned() -> None:
    policy = build(0)
    set_preference(policy, 0.0, 30.0)
    with gymnasium.make("CartPole-v1") as environment:
        trajectory = act(environment, Actor(policy), np.random.default_rng(0))
    assert trajectory.action.all()
    # Pushed right throughout, the cart never slows: each velocity exceeds the one before.
    assert (np.diff(trajectory.observation[:, 1]) > 0).all()
    assert len(trajectory) == trajectory.reward.sum()


def test_validation_counts_the_first_episode_of_every_row_only() -> None:
    policy = build(0)
    set_preference(policy, 0.0, 30.0)
    # Rows that push right throughout fall after 8 to 11 steps, at different ones.
    assert 8.0 <= validate(policy, 0) <= 11.0
    with gymnasium.make("CartPole-v1") as environment:
        lengths = [
            len(act(environment, Actor(policy), np.random.default_rng(0))) for _ in range(100)
        ]
    assert validate(policy, 0) == pytest.approx(np.mean(lengths), abs=0.5)


def test_validation_samples_actions() -> None:
    policy = build(0)
    set_preference(policy, 0.0, 0.1)
    # The likeliest action alone would fall within 11 steps; a fair coin lives twice as long.
    assert validate(policy, 0) > 15.0


def test_single_thread_is_undone_after_an_error() -> None:
    threads = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="planted"), single_thread():
        raise RuntimeError("planted")
    assert torch.get_num_threads() == threads
