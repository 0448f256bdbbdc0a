"""Opening an agent from what a user can name: a file, `SCHEME:…` or `module:function`.

A file is untrusted. By default nothing in it runs: weights are read as numbers, and the network
comes from our own list or from the names and shapes of the weights. What cannot be opened so is
refused with what was found in it; `trust` opens it all the same.
"""

from pathlib import Path
from typing import Protocol

from torch import nn

from policyscope.agents.adapters import decision_transformer, sb3, state_dict
from policyscope.agents.adapters.function import from_parts
from policyscope.agents.adapters.hub import open_hub
from policyscope.agents.adapters.torch import TorchAgent
from policyscope.agents.agent import Agent
from policyscope.agents.agent_file import is_agent_file, open_agent_file
from policyscope.errors import InvalidInput, UnknownName
from policyscope.registry import Registry, import_named

WEIGHTS = (".pt", ".pth", ".ckpt", ".tar", ".bin", ".cleanrl_model")
CHECKPOINTS = (".safetensors", ".zip", *WEIGHTS)
COMPANIONS = ("vecnormalize.pkl",)
"""Files beside a checkpoint that are part of the agent."""


class Opener(Protocol):
    """What stands behind a scheme: opens what is named after the colon."""

    def __call__(self, rest: str, *, trust: bool = False) -> Agent: ...


SCHEMES: Registry[Opener] = Registry("agent scheme", "policyscope.agents")
"""Scheme -> what opens it; third parties add theirs by entry point."""

SCHEMES.register("sb3")(sb3.open_named)
SCHEMES.register("torch")(state_dict.open_named)
SCHEMES.register("dt")(decision_transformer.open_named)


@SCHEMES.register("hub")
def open_from_hub(rest: str, *, trust: bool = False) -> Agent:
    """The agent in a repository of the Hugging Face hub, opened as a file of it would be."""
    return open_hub(rest, lambda path: open_file(path, trust=trust))


def open_agent(spec: str, folder: Path | None = None, *, trust: bool = False) -> Agent:
    """The agent that `spec` names: a path, `SCHEME:…` or `module:function`.

    `module` is looked for in `folder` (by default the current one) and on the import path.
    `trust` opens files that can run code of their own. Raises UnknownName, CorruptFile,
    NewerFormat, UntrustedFile or InvalidInput, each saying what was given and what can be opened.
    """
    scheme, _, rest = spec.partition(":")
    if rest and scheme in SCHEMES.names():
        agent = SCHEMES.get(scheme)(rest, trust=trust)
        if not agent.files:
            remember(agent, spec)
        return agent
    path = Path(spec)
    if path.suffix in CHECKPOINTS or path.exists():
        return open_file(path, trust=trust)
    if rest:
        return call_function(spec, folder)
    raise InvalidInput(
        f"{spec!r} is not an agent: there is no such file. Give a checkpoint "
        f"({', '.join(CHECKPOINTS)}), {', '.join(f'{name}:…' for name in SCHEMES.names())}, "
        "or module:function."
    )


def open_file(path: Path, *, trust: bool = False) -> Agent:
    """The agent in the checkpoint at `path`, whoever wrote it."""
    if decision_transformer.is_decision_transformer(path):
        agent: Agent = decision_transformer.open_decision_transformer(path, trust=trust)
    elif not path.is_file():
        raise UnknownName(f"There is no agent file {str(path)!r}.")
    elif path.suffix == ".safetensors" and is_agent_file(path):
        agent = open_agent_file(path)
    elif path.suffix == ".zip" or sb3.is_sb3(path):
        agent = sb3.open_sb3(path, trust=trust)
    elif path.suffix in (".safetensors", *WEIGHTS):
        agent = state_dict.open_state_dict(path, trust=trust)
    else:
        raise InvalidInput(
            f"{path.name!r} is of no kind that is known. Known: {', '.join(CHECKPOINTS)}."
        )
    remember(agent, str(path))
    return agent


def open_copy(reopen: str, path: Path, *, trust: bool = False) -> Agent:
    """The agent in a copy of a checkpoint, opened as `agent.reopen` of the original says.

    Nothing but a path, or one of the known schemes and a path, is opened so.
    """
    prefix = reopen.removesuffix("{}")
    if prefix == reopen or (prefix and prefix.partition(":")[0] not in SCHEMES.names()):
        raise InvalidInput(f"{reopen!r} is not how a copy of an agent is opened.")
    return open_agent(f"{prefix}{path}", trust=trust)


def remember(agent: Agent, spec: str) -> None:
    """Notes on the agent which files it came from, and how copies of them are opened again."""
    place = spec if Path(spec).exists() else spec.rpartition(":")[2]
    path = Path(place)
    if path.is_file():
        beside = [path.with_name(name) for name in COMPANIONS]
        agent.files = (path, *(found for found in beside if found.is_file()))
        agent.reopen = spec.removesuffix(place) + "{}"


def call_function(spec: str, folder: Path | None = None) -> Agent:
    """The agent that `module:function` returns: an Agent, a module, or a module and how it acts."""
    schemes = ", ".join(f"{scheme}:…" for scheme in SCHEMES.names())
    function = import_named("agent", spec, folder, f"Known schemes: {schemes}.")
    if not callable(function):
        raise InvalidInput(f"{spec} is not a function that returns an agent.")
    made = function()
    if isinstance(made, Agent):
        return made
    if isinstance(made, nn.Module):
        return TorchAgent(made, name=spec)
    if isinstance(made, tuple):
        return from_parts(made, spec)
    raise InvalidInput(
        f"{spec} returned {type(made).__name__}; expected a policyscope Agent, a torch module "
        "whose forward gives logits [row, action], or (module, act)."
    )
