"""Making environments by name: which form is taken, and every way it can be refused."""

import gymnasium
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import DependencyNotInstalled

from policyscope.envs.cartpole import CartPole
from policyscope.envs.make import check_id, make
from policyscope.envs.vector import GymnasiumRows
from policyscope.errors import InvalidInput, MissingExtra, UnknownName


def test_the_vector_form_is_taken_where_there_is_one():
    assert type(make("CartPole-v1", 3)) is CartPole
    assert make("CartPole-v1", 3, sutton_barto_reward=True).arguments == {
        "sutton_barto_reward": True
    }


def test_other_environments_and_arguments_are_gymnasiums():
    env = make("MountainCar-v0", 2, goal_velocity=0.01)
    assert type(env) is GymnasiumRows
    assert (env.rows, env.arguments) == (2, {"goal_velocity": 0.01})
    assert type(make("CartPole-v1", 1, max_episode_steps=9)) is GymnasiumRows


def test_an_unknown_environment_comes_with_a_suggestion():
    with pytest.raises(UnknownName) as raised:
        make("CartPol-v1", 1)
    assert "No environment called 'CartPol-v1'. Did you mean 'CartPole-v1'?" in str(raised.value)


def test_a_module_to_import_first():
    check_id("gymnasium.envs:CartPole-v1")
    with pytest.raises(UnknownName, match="wants module 'no_such_module'"):
        make("no_such_module:World-v0", 1)


def test_arguments_it_does_not_take():
    with pytest.raises(InvalidInput, match=r"MountainCar-v0 cannot be made with \{'gravity"):
        make("MountainCar-v0", 1, gravity=3)
    with pytest.raises(InvalidInput, match="rows is 0; expected at least 1"):
        make("CartPole-v1", 0)


@pytest.mark.parametrize(
    ("raised", "refusal", "message"),
    [
        (
            DependencyNotInstalled("run `pip install x`"),
            MissingExtra,
            "needs a package .*: run .pip install",
        ),
        (gymnasium.error.Error("no world"), InvalidInput, "cannot be made: no world"),
    ],
)
def test_what_gymnasium_refuses_is_told(monkeypatch, raised, refusal, message):
    def refuse():
        raise raised

    name = "PolicyscopeTests-v0"
    monkeypatch.setitem(gymnasium.registry, name, EnvSpec(name, refuse))
    with pytest.raises(refusal, match=f"{name} {message}"):
        make(name, 1)
