"""Families: which form the rows of an id take, and what to install where it is missing."""

import importlib

import pytest

from policyscope.envs.families import (
    FAMILIES,
    arguments_to_read,
    family_of,
    family_rows,
    introduce,
)
from policyscope.errors import MissingExtra

FORMS = [
    ("ALE/Pong-v5", {}, "Atari", "ale_py"),
    ("ALE/Pong-v5", {"ram": True}, "Emulators", "ale_py"),
    ("EnduroNoFrameskip-v4", {"stack_num": 2}, "Atari", "ale_py"),
    ("ALE/Pong-v5", {"obs_type": "rgb"}, "NoneType", "ale_py"),
    ("MiniGrid-MemoryS7FixedStart-v0", {"one_hot": True}, "MiniGrid", "minigrid"),
    ("LunarLander-v3", {}, "Box2D", "Box2D"),
    ("HalfCheetah-v5", {}, "NoneType", "mujoco"),
    ("CartPole-v1", {}, "NoneType", "gymnasium"),
]


@pytest.mark.parametrize(("id", "arguments", "form", "package"), FORMS)
def test_which_form_rows_take(id, arguments, form, package):
    pytest.importorskip(package, reason=f"needs the package {package}")
    introduce(id)
    made = family_rows(id, 1, False, **arguments)
    assert type(made).__name__ == form
    if made is not None:
        assert dict(made.arguments) == arguments
        made.close()


def test_every_family_is_found_by_its_names():
    assert family_of("CartPole-v1") is None
    for family in FAMILIES:
        for pattern in family.patterns:
            assert family_of(pattern.replace("*", "X").replace("?", "4")) is not None


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    def refuse(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(MissingExtra, match=r"ale_py is not installed.*policyscope\[atari\]"):
        introduce("ALE/Pong-v5")


def test_metrics_of_a_games_memory_ask_for_it():
    assert arguments_to_read("ALE/Pong-v5", {}, ["ball_x", "lives"]) == {"ram": True}
    assert arguments_to_read("ALE/Pong-v5", {}, ["lives", "info:lives"]) == {}
    assert arguments_to_read("ALE/Pong-v5", {"ram": False}, ["ball_x"]) == {"ram": False}
    assert arguments_to_read("Humanoid-v5", {"x": 1}, ["contacts"]) == {"x": 1}
