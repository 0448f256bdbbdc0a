"""Opening an agent from what a user can name: a file, `zoo:NAME` or `module:function`.

A file is untrusted: only formats that hold plain numbers are opened, and the architecture comes
from our own list, never from the file.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from policyscope.agents.adapters.torch import TorchAgent
from policyscope.agents.agent import Agent
from policyscope.agents.architectures import ARCHITECTURES
from policyscope.errors import (
    CorruptFile,
    InvalidInput,
    NewerFormat,
    PolicyscopeError,
    UnknownName,
    UntrustedFile,
)
from policyscope.registry import Registry, import_named

SCHEMES: Registry[Callable[[str], Agent]] = Registry("agent scheme", "policyscope.agents")
"""Scheme -> function that opens what stands behind the colon."""

AGENT_FORMAT = 1
HEADER = "policyscope.agent"
CHECKPOINTS = (".zip", ".pt", ".pth", ".ckpt", ".tar", ".safetensors")


def open_agent(spec: str, folder: Path | None = None) -> Agent:
    """The agent that `spec` names: a path, `zoo:NAME` or `module:function`.

    `module` is looked for in `folder` (by default the current one) and on the import path.
    Raises UnknownName, CorruptFile, NewerFormat, UntrustedFile or InvalidInput, each saying what
    was given and what can be opened.
    """
    scheme, _, rest = spec.partition(":")
    if rest and scheme in SCHEMES.names():
        return SCHEMES.get(scheme)(rest)
    if Path(spec).suffix in CHECKPOINTS or Path(spec).exists():
        return open_file(Path(spec))
    if rest:
        return call_function(spec, folder)
    raise InvalidInput(
        f"{spec!r} is not an agent: there is no such file. "
        "Give a .safetensors file written by policyscope, zoo:NAME, or module:function."
    )


def open_file(path: Path) -> Agent:
    """The agent in a safetensors file that `save_agent` wrote."""
    if not path.is_file():
        raise UnknownName(f"There is no agent file {str(path)!r}.")
    if path.suffix != ".safetensors":
        raise UntrustedFile(
            f"Cannot open {path.name!r}: {path.suffix or 'such'} files can hold code, and only "
            ".safetensors files written by policyscope are opened from disk. Write a function "
            "that builds the network and loads its weights, and pass it as module:function."
        )
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get(HEADER, "null"))
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise CorruptFile(f"{str(path)!r} is not a readable safetensors file: {error}") from error
    if header is None:
        raise InvalidInput(
            f"{str(path)!r} holds weights but does not say of which network. Write a function that "
            "builds the network and loads them, and pass it as module:function."
        )
    return build(path, header, weights)


def build(path: Path, header: Any, weights: dict[str, Tensor]) -> TorchAgent:
    """The agent that the header and weights of the file at `path` describe."""
    try:
        if header["format"] > AGENT_FORMAT:
            raise NewerFormat(
                f"{str(path)!r} has agent format {header['format']}; this policyscope reads up to "
                f"{AGENT_FORMAT}. Upgrade policyscope."
            )
        module = ARCHITECTURES.get(header["architecture"])(**header["arguments"])
        module.load_state_dict(weights)
        facts = {key: header[key] for key in ("head", "name", "algorithm", "environment")}
    except PolicyscopeError:
        raise
    except (KeyError, TypeError, RuntimeError) as error:
        raise CorruptFile(
            f"{str(path)!r} does not hold a network and the weights that fit it: {error!r}"
        ) from error
    agent = TorchAgent(module, **facts)
    agent.source = path
    return agent


def save_agent(
    path: Path,
    module: nn.Module,
    *,
    architecture: str,
    arguments: dict[str, Any],
    head: str = "logits",
    name: str = "agent",
    algorithm: str = "unknown",
    environment: str | None = None,
) -> None:
    """Writes the weights with a header that names the network, whole or not at all."""
    header = {
        "format": AGENT_FORMAT,
        "architecture": architecture,
        "arguments": arguments,
        "head": head,
        "name": name,
        "algorithm": algorithm,
        "environment": environment,
    }
    weights = {name: tensor.contiguous() for name, tensor in module.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(save(weights, {HEADER: json.dumps(header)}))
    temporary.replace(path)


def call_function(spec: str, folder: Path | None = None) -> Agent:
    """The agent that `module:function` returns, be it an Agent or a module that gives logits."""
    schemes = ", ".join(f"{scheme}:…" for scheme in SCHEMES.names())
    function = import_named("agent", spec, folder, f"Known schemes: {schemes}.")
    if not callable(function):
        raise InvalidInput(f"{spec} is not a function that returns an agent.")
    made = function()
    if isinstance(made, Agent):
        return made
    if isinstance(made, nn.Module):
        return TorchAgent(made, name=spec)
    raise InvalidInput(
        f"{spec} returned {type(made).__name__}; expected a policyscope Agent, "
        "or a torch module whose forward gives logits [row, action]."
    )
