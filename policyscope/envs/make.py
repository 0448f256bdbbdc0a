"""Making rows of an environment by its name: its own vector form first, then Gymnasium's."""

import importlib
from collections.abc import Mapping
from typing import Any

import gymnasium

from policyscope.envs.cartpole import STEP_LIMITS, CartPole
from policyscope.envs.environment import Environment
from policyscope.envs.families import arguments_to_draw, family_rows, introduce
from policyscope.envs.vector import GymnasiumRows
from policyscope.errors import InvalidInput, MissingExtra, PolicyscopeError, UnknownName
from policyscope.registry import make_importable

MANY_ROWS = 2048
"""Where the steps per second of vectorised CartPole level off."""
SOME_ROWS = 32
"""Rows that are stepped one after the other; more only make the network's batch larger."""


def make(id: str, rows: int, /, *, processes: bool = False, **arguments: Any) -> Environment:
    """`rows` copies of the environment `id`, made with `arguments`.

    `processes` gives every row a process of its own where the environment has no vector form.
    Raises UnknownName for an id nobody registered, InvalidInput for arguments it does not take,
    MissingExtra where a package it is made with is not installed.
    """
    if rows < 1:
        raise InvalidInput(f"rows is {rows}; expected at least 1.")
    check_id(id)
    if is_vectorized(id, arguments):
        return CartPole(id, rows, **arguments)
    try:
        own = family_rows(id, rows, processes, **arguments)
        if own is not None:
            return own
        return GymnasiumRows(id, rows, processes=processes, **arguments)
    except gymnasium.error.DependencyNotInstalled as error:
        raise MissingExtra(f"{id} needs a package of its own: {error}") from error
    except PolicyscopeError:
        raise
    except Exception as error:  # its constructor is anybody's code
        how = f" with {arguments}" if arguments else ""
        raise InvalidInput(f"{id} cannot be made{how}: {error}") from error


def make_drawable(id: str, rows: int, /, **arguments: Any) -> Environment:
    """The rows that `make` makes, such that each can be seen (`picture`)."""
    if is_vectorized(id, arguments):
        return make(id, rows, **arguments)
    check_id(id)
    return make(id, rows, **arguments_to_draw(id, arguments))


def is_vectorized(id: str, arguments: Mapping[str, Any]) -> bool:
    """Whether Gymnasium's vectorised CartPole can play this."""
    return id in STEP_LIMITS and set(arguments) <= {"sutton_barto_reward"}


def most_rows(id: str) -> int:
    """How many rows are worth making: beyond it they cost memory and bring no speed."""
    return MANY_ROWS if id in STEP_LIMITS else SOME_ROWS


def check_id(id: str) -> None:
    """Raises UnknownName with a suggestion when no environment is registered as `id`.

    `module:Name-v0` imports the module first, as Gymnasium does.
    """
    module, _, name = id.rpartition(":")
    if module:
        make_importable()
        try:
            importlib.import_module(module)
        except (ImportError, TypeError) as error:
            raise UnknownName(
                f"Environment {id!r} wants module {module!r}: {error}. Install it, or run this in "
                "the folder where it lies."
            ) from error
    introduce(name)
    if name not in gymnasium.registry:
        raise UnknownName.among("environment", name, gymnasium.registry)
