"""The weights in a file that somebody else wrote, read without running anything the file says.

Safetensors files hold numbers only. Of torch files only what `torch.load(weights_only=True)` can
rebuild is read: tensors, plain containers, and here also numpy scalars and `argparse.Namespace`,
which checkpoints often carry beside them. Everything else is refused with what was found.
"""

import argparse
import pickletools
import zipfile
from _codecs import encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

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
SLACK = 1 << 20
"""How many bytes a torch archive may unpack to beyond its size: its entries are not compressed."""

SAFE = [
    np._core.multiarray.scalar,
    (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"),
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
    for place, tensors in found:
        check_tensors(path, place, tensors)
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
    check_archive(path)
    if trust:
        return torch.load(path, map_location="cpu", weights_only=False)
    try:
        with torch.serialization.safe_globals(SAFE):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # The unpickler raises whatever a malformed stream makes of it.
        names = foreign_names(path)
        if not names:
            raise CorruptFile(
                f"{str(path)!r} is not a readable torch file; it is cut short, damaged or of "
                f"another kind: {type(error).__name__}: {first_line(error)}"
            ) from error
        raise UntrustedFile(
            f"{path.name!r} holds more than weights: {', '.join(names)}. Loading it runs that code."
            " Ask its author for the state_dict (torch.save(module.state_dict(), …)), or, if you "
            "trust it as you trust a program, open it with --trust."
        ) from error


def check_archive(path: Path) -> None:
    """Raises CorruptFile for archives that unpack to more than they are, UntrustedFile for code."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError) as error:
        raise CorruptFile(f"{str(path)!r} is a damaged archive: {error}") from error
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > path.stat().st_size + SLACK:
        raise CorruptFile(
            f"{str(path)!r} would unpack to {unpacked:,} bytes from {path.stat().st_size:,}. "
            "torch does not compress what it saves, so torch did not write this."
        )
    if any("/code/" in entry.filename and entry.filename.endswith(".py") for entry in entries):
        raise UntrustedFile(
            f"{path.name!r} is a TorchScript program: it holds code, and its layers cannot be read "
            "or edited one by one. Save the eager module's state_dict instead."
        )


def foreign_names(path: Path, shown: int = 8) -> list[str]:
    """The classes and functions the file names that are neither torch's nor known to be harmless."""
    try:
        with torch.serialization.safe_globals(SAFE):
            names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # It may be of the older format, or be damaged anywhere.
        names = legacy_names(path)
    return [*names[:shown], *([f"… and {len(names) - shown} more"] if len(names) > shown else [])]


def legacy_names(path: Path, most: int = 1 << 24) -> list[str]:
    """The same for a file that is one bare pickle; reads the opcodes, and runs none of them."""
    names: set[str] = set()
    strings: list[str] = []
    try:
        with path.open("rb") as file:
            for _ in range(8):  # torch's older format is several pickles after each other.
                for opcode, argument, _position in pickletools.genops(file.read(most)):
                    if isinstance(argument, str):
                        strings.append(argument)
                    if opcode.name in ("GLOBAL", "INST"):
                        names.add(str(argument).replace(" ", "."))
                    elif opcode.name == "STACK_GLOBAL":
                        names.add(".".join(strings[-2:]))
    except Exception:  # Ends where the pickle does, or where it is broken.
        pass
    return sorted(name for name in names if not name.startswith(("torch.", "collections.Ordered")))


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


def check_tensors(path: Path, place: str, tensors: Mapping[str, Tensor]) -> None:
    """Raises for tensors that claim more numbers than the file holds, and for NaN."""
    for name, tensor in tensors.items():
        if tensor.layout is not torch.strided or tensor.is_quantized:
            raise InvalidInput(f"{place or str(path)!r}: {name!r} is sparse or quantized.")
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise CorruptFile(
                f"{str(path)!r}: {name!r} claims the shape {list(tensor.shape)}, but only "
                f"{tensor.untyped_storage().nbytes():,} bytes stand behind it."
            )
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


def first_line(error: Exception) -> str:
    """The first line of an error's message."""
    return (str(error).splitlines() or [""])[0][:200]
