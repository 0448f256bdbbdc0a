"""Our own agent file: safetensors weights, with a header that names the network they belong to.

The network comes from our list of architectures, never from the file, so that opening one runs no
code of its own.
"""

import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from policyscope.agents.adapters.torch import TorchAgent
from policyscope.agents.architectures import ARCHITECTURES
from policyscope.errors import CorruptFile, NewerFormat, PolicyscopeError

AGENT_FORMAT = 1
HEADER = "policyscope.agent"


def is_agent_file(path: Path) -> bool:
    """Whether the safetensors file at `path` has our header; CorruptFile where it is not one."""
    return read_header(path) is not None


def read_header(path: Path) -> Any:
    """What the header of our own says, or None where there is none."""
    try:
        with safe_open(path, framework="pt") as file:
            return json.loads((file.metadata() or {}).get(HEADER, "null"))
    except (SafetensorError, ValueError) as error:
        raise CorruptFile(f"{str(path)!r} is not a readable safetensors file: {error}") from error


def open_agent_file(path: Path) -> TorchAgent:
    """The agent in a file that `save_agent` wrote."""
    header = read_header(path)
    with safe_open(path, framework="pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
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
    return TorchAgent(module, **facts)


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
