"""The weights in a file that somebody else wrote, read without running anything the file says.

Safetensors files hold numbers only. Of torch files only what `torch.load(weights_only=True)` can
rebuild is read: tensors, plain containers, and here also numpy scalars and `argparse.Namespace`,
which checkpoints often carry beside them. Everything else is refused with what was found.
"""

import argparse
import zipfile
from _codecs import encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from policyscope.agents.checkpoints import (
    INSTEAD,
    inspect_legacy,
    inspect_zip,
    read_checkpoint,
)
from policyscope.agents.untrusted import Untrusted, listed, read_untrusted
from policyscope.errors import CorruptFile, InvalidInput, NotFinite, UnknownName, UntrustedFile

TORCH_SUFFIXES = (".pt", ".pth", ".ckpt", ".tar", ".bin", ".cleanrl_model")
SUFFIXES = (*TORCH_SUFFIXES, ".safetensors")
"""Files whose weights can be read."""

PREFERRED = [
    "state_dict",
    "model_state_dict",
    "policy_state_dict",
    "actor_state_dict",
    "agent_state_dict",
    "model",
    "network",
    "net",
    "agent",
    "policy",
    "actor",
    "q_network",
    "q_net",
    "online",
    "pi",
    "ac",
    "module",
    "params",
    "weights",
]
"""Where checkpoints keep the weights that act, the likeliest first."""
AVOIDED = ("optim", "target", "critic", "qf", "scheduler", "ema", "old")
WRAPPERS = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before every name."""

DEPTH = 3

SCALAR = cast(Callable[..., Any], np.float64(0).__reduce__()[0])
"""What numpy calls to rebuild a number."""
SAFE: list[Any] = [
    (SCALAR, "numpy.core.multiarray.scalar"),
    (SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    *{type(np.dtype(code)) for code in "?bBhHiIlLqQefd"},
    encode,
    argparse.Namespace,
]
"""Classes and functions beyond torch's own list that a checkpoint may name; none runs code."""


@dataclass(frozen=True)
class Weights:
    """Named tensors that lay together at one place of a file."""

    tensors: Mapping[str, Tensor]
    place: str = ""
    """The keys that led there, such as `model_state_dict`; empty where they are the whole file."""
    wrapper: str = ""
    """What stood before every name and was taken off."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Plain values that lay beside them: numbers, strings, lists."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every tensor's shape by name, in the order of the file."""
        return {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}


def read_weights(path: Path, *, trust: bool = False) -> list[Weights]:
    """Every state dict in the file, the one that most likely acts first.

    `trust` unpickles what is otherwise refused, which runs whatever code the file holds. Raises
    UnknownName, UntrustedFile, CorruptFile, NotFinite or InvalidInput.
    """
    if not path.is_file():
        raise UnknownName(f"There is no agent file {str(path)!r}.")
    held = read_safetensors(path) if path.suffix == ".safetensors" else read_torch(path, trust)
    if isinstance(held, nn.Module):
        held = held.state_dict()
    facts = facts_of(held)
    found = [(place, tensors) for place, tensors in state_dicts(held)]
    if not found:
        raise InvalidInput(f"{str(path)!r} holds no weights, but {describe(held)}.")
    for _, tensors in found:
        check_finite(path, tensors)
    order = sorted(range(len(found)), key=lambda index: rank(found[index][0]))
    return [unwrapped(found[index][1], found[index][0], facts) for index in order]


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise CorruptFile(f"{str(path)!r} is not a readable safetensors file: {error}") from error


def read_torch(path: Path, trust: bool = False) -> Any:
    """What `torch.save` put into the file; plain data only, unless it is trusted."""
    if is_torchscript(path):
        raise UntrustedFile(
            f"{path.name!r} is a TorchScript program: it holds code, and its layers cannot be read "
            "or edited one by one. Save the state_dict of the module it was made from instead."
        )
    if trust:
        return torch.load(path, map_location="cpu", weights_only=False)
    source = read_untrusted(path)
    try:
        with torch.serialization.safe_globals(SAFE):
            return read_checkpoint(source)
    except UntrustedFile as error:
        parts = module_names(source)
        if not parts:
            raise
        raise source.refused(f"it holds a whole module: {listed(parts)}", INSTEAD) from error


def module_names(source: Untrusted) -> list[str]:
    """The classes of the module that a file holds, its own first; none where it holds weights."""
    inspect = inspect_zip if source.content.startswith(b"PK") else inspect_legacy
    names = inspect(source)[0].names
    layers = sorted(name for name in names if name.startswith("torch.nn.modules."))
    known = ("torch.", "collections.", "builtins.", "__builtin__.", "_codecs.", "numpy.")
    own = sorted(name for name in names if not name.startswith(known))
    return [*own, *layers] if layers else []


def is_torchscript(path: Path) -> bool:
    """Whether the file is an archive with a program in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any("/code/" in name for name in archive.namelist())
    except (zipfile.BadZipFile, ValueError, OSError):
        return False


def state_dicts(held: Any, place: str = "", depth: int = DEPTH) -> Iterator[tuple[str, Any]]:
    """Every mapping of names to tensors inside `held`, with the keys that lead to it."""
    if isinstance(held, nn.Module):
        held = held.state_dict()
    if isinstance(held, tuple | list):
        held = {f"[{index}]": part for index, part in enumerate(held)}
    if not isinstance(held, Mapping):
        return
    tensors = {key: value for key, value in held.items() if isinstance(value, Tensor)}
    if tensors and all(isinstance(key, str) for key in tensors):
        yield place, tensors
    if depth:
        for key, value in held.items():
            if isinstance(key, str) and not isinstance(value, Tensor):
                yield from state_dicts(value, f"{place}.{key}".lstrip("."), depth - 1)


def rank(place: str) -> tuple[bool, int, int]:
    """Sorts places by how likely the weights there are the ones that act."""
    keys = place.lower().split(".")
    known = [PREFERRED.index(key) for key in keys if key in PREFERRED]
    avoided = any(word in key for key in keys for word in AVOIDED)
    return avoided, min(known, default=len(PREFERRED)), len(keys)


def unwrapped(tensors: Mapping[str, Tensor], place: str, facts: Mapping[str, Any]) -> Weights:
    """The weights without what a wrapper put before every name."""
    wrapper = ""
    for prefix in WRAPPERS:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
            wrapper += prefix
    return Weights(tensors, place, wrapper, facts)


def check_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raises NotFinite for weights with which no agent can act."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and bool(tensor.isnan().any()):
            raise NotFinite(f"{str(path)!r}: {name!r} holds NaN; no agent can act with it.")


def facts_of(held: Any) -> dict[str, Any]:
    """The plain values on the first level of a checkpoint."""
    if not isinstance(held, Mapping):
        return {}
    plain = (str, int, float, bool, type(None))
    return {str(key): value for key, value in held.items() if isinstance(value, plain)}


def describe(held: Any) -> str:
    """What a file holds, in a few words."""
    if isinstance(held, Mapping):
        return "a dict of " + ", ".join(f"{key}: {type(held[key]).__name__}" for key in held)
    return f"a {type(held).__name__}"
