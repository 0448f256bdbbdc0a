"""Bare torch weights as agents: the network is told by the names and shapes in the file.

`open_state_dict(path)` tries every known architecture; `torch:ARCHITECTURE[,key=value…]:PATH` names
one, with arguments that weights cannot tell, such as `torch:feedforward,activation=tanh:actor.pth`.
"""

import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from policyscope.agents.adapters import (
    alpha_zero,
    baby_a3c,
    babyai,
    cleanrl,
    drl_pytorch,
    feedforward,
    trajectory_transformer,
)
from policyscope.agents.agent import Agent
from policyscope.agents.rebuilt import REBUILT, RebuiltAgent
from policyscope.agents.weights import Weights, read_weights
from policyscope.errors import CorruptFile, InvalidInput, UnknownName

BUILT_IN = (
    alpha_zero,
    baby_a3c,
    babyai,
    cleanrl,
    drl_pytorch,
    feedforward,
    trajectory_transformer,
)
"""The files whose architectures are registered by importing this one."""

SHOWN_TENSORS = 12
CONFIGS = ("environment_config", "env_id", "env", "env_name")
"""Facts of a checkpoint that may name the environment."""


def open_state_dict(
    path: Path,
    architecture: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    *,
    trust: bool = False,
) -> RebuiltAgent:
    """The agent whose weights lie in the file at `path`.

    Without `architecture` every known one is asked whether it recognizes them. `arguments` go to
    its constructor, over what was recognized. Raises UntrustedFile, CorruptFile, NotFinite,
    UnknownName or InvalidInput, each saying what was found and what to add.
    """
    places = read_weights(path, trust=trust)
    given = dict(arguments or {})
    for weights in places:
        for name, recognized in candidates(weights, architecture):
            agent = build(path, name, weights, {**recognized, **given})
            agent.is_safe = not trust
            return agent
    raise InvalidInput(unrecognized(path, places, architecture))


def open_named(spec: str, *, trust: bool = False) -> RebuiltAgent:
    """The agent that `ARCHITECTURE[,key=value…]:PATH` names."""
    choices, colon, path = spec.partition(":")
    name, *arguments = choices.split(",")
    if not colon or not path:
        raise InvalidInput(
            f"'torch:{spec}' names no weights. Write torch:ARCHITECTURE[,key=value…]:PATH, "
            "for example torch:feedforward,activation=tanh:actor.pth."
        )
    REBUILT.get(name)
    return open_state_dict(Path(path), name, parse_arguments(arguments), trust=trust)


def parse_arguments(pairs: Sequence[str]) -> dict[str, Any]:
    """`key=value` pairs, with numbers and true or false as what they are."""
    parsed: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise InvalidInput(f"{pair!r} is no argument; write key=value.")
        try:
            parsed[key] = json.loads(value)
        except ValueError:
            parsed[key] = value
    return parsed


def candidates(
    weights: Weights, architecture: str | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The architectures that recognize these weights, with their arguments; special ones first."""
    names = REBUILT.names() if architecture is None else [architecture]
    for name in sorted(names, key=lambda name: REBUILT.get(name).is_generic):
        recognized = REBUILT.get(name).recognize(weights.shapes)
        if recognized is not None:
            yield name, recognized


def build(path: Path, name: str, weights: Weights, arguments: Mapping[str, Any]) -> RebuiltAgent:
    """The agent of this architecture with these arguments, filled with the weights."""
    kind = REBUILT.get(name)
    check_arguments(path, name, kind, arguments)
    agent = kind(**as_annotated(kind, arguments))
    try:
        agent.module.load_state_dict(dict(weights.tensors))
    except RuntimeError as error:
        # Below a heading, torch writes one line on each thing that is amiss.
        said = [line.strip() for line in str(error).splitlines()]
        raise CorruptFile(
            f"{str(path)!r} does not fit a {name} network: {' '.join(said[1:])}"
        ) from error
    for parameter in agent.module.parameters():
        parameter.requires_grad_(False)
    agent.module.eval()
    agent.name = path.stem
    agent.environment = agent.environment or environment_of(weights)
    agent.assumed = (*where(weights), *agent.assumed)
    if agent.algorithm == Agent.algorithm:
        agent.algorithm = name
    return agent


def check_arguments(
    path: Path, name: str, kind: type[RebuiltAgent], arguments: Mapping[str, Any]
) -> None:
    """Raises UnknownName for arguments that are not taken, InvalidInput for those to ask for."""
    taken = inspect.signature(kind).parameters
    for key in arguments:
        if key not in taken:
            raise UnknownName.among(f"argument of {name}", key, [k for k in taken if k != "shapes"])
    missing = [
        key
        for key, parameter in taken.items()
        if parameter.default is parameter.empty and key not in arguments
    ]
    if missing:
        example = ",".join(f"{key}={next(iter(kind.choices(key)), '…')}" for key in missing)
        raise InvalidInput(
            f"{str(path)!r} holds a {name} network, but weights do not say its "
            f"{' and '.join(missing)}. Say it: torch:{name},{example}:{path}"
            + "".join(f" ({key}: {', '.join(c)})" for key in missing if (c := kind.choices(key)))
        )


def as_annotated(kind: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments, with whole numbers as fractions where those are taken."""
    taken = inspect.signature(kind).parameters
    return {
        key: float(value) if type(value) is int and "float" in str(taken[key].annotation) else value
        for key, value in arguments.items()
    }


def where(weights: Weights) -> list[str]:
    """Sentences on where in the file the weights were."""
    said = list[str]()
    if weights.place:
        said.append(f"Weights found under {weights.place!r} in the checkpoint.")
    if weights.wrapper:
        said.append(f"{weights.wrapper!r} taken off the front of every name.")
    return said


def environment_of(weights: Weights) -> str | None:
    """The environment that the facts beside the weights name, if they do."""
    for key in CONFIGS:
        fact = weights.facts.get(key)
        if isinstance(fact, str) and fact.startswith("{"):
            try:
                fact = json.loads(fact).get("env_id")
            except ValueError:
                continue
        if isinstance(fact, str) and fact:
            return fact
    return None


def unrecognized(path: Path, places: Sequence[Weights], architecture: str | None) -> str:
    """The message for weights of a network nobody here knows."""
    shapes = places[0].shapes
    shown = [f"{name} {list(shape)}" for name, shape in list(shapes.items())[:SHOWN_TENSORS]]
    more = f" … and {len(shapes) - len(shown)} more" if len(shapes) > len(shown) else ""
    asked = (
        f"are not those of a {architecture!r} network" if architecture else "are of no known one"
    )
    return (
        f"{str(path)!r} holds weights that {asked}: {', '.join(shown)}{more}. "
        f"Known: {', '.join(REBUILT.names())}. For any other network write a function that builds "
        "it and loads them, and pass it as module:function."
    )
