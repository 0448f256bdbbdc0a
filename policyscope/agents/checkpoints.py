"""Torch files (.pt .pth .ckpt .tar) that nobody vouches for, read as plain weights.

`torch.load(weights_only=True)` runs no code, but it believes the sizes a file claims. So the
pickle inside is first read with stand-ins and every storage it claims is compared with the bytes
that are there; afterwards no tensor may be larger than its storage.
"""

import io
import math
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from policyscope.agents.archives import Archive
from policyscope.agents.pickles import Opened, is_code, unpickle_inert
from policyscope.agents.untrusted import Untrusted, listed, read_untrusted

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
ITEM_BYTES = {
    **{"Double": 8, "Float": 4, "Half": 2, "BFloat16": 2, "Long": 8, "Int": 4, "Short": 2},
    **{"Char": 1, "Byte": 1, "Bool": 1, "Untyped": 1, "ComplexFloat": 8, "ComplexDouble": 16},
}
INSTEAD = (
    "Save only its state_dict(), or write a function that builds the network and pass it as "
    "module:function."
)


def read_checkpoint(source: Untrusted | Path) -> Any:
    """What a torch file holds: tensors, numbers, text and containers of them.

    Raises UntrustedFile naming what else the file asks for, CorruptFile for a damaged file or one
    whose tensors claim more than it holds.
    """
    if isinstance(source, Path):
        source = read_untrusted(source)
    if source.content.startswith(b"PK"):
        opened, held = inspect_zip(source)
    else:
        opened, held = inspect_legacy(source)
    try:
        with warnings.catch_warnings():
            # Old files name classes that torch has since deprecated.
            warnings.simplefilter("ignore")
            value = torch.load(io.BytesIO(source.content), map_location="cpu", weights_only=True)
    except Exception as error:
        raise judge(source, opened, error) from error
    try:
        check_tensors(source, value, held)
    except (RuntimeError, NotImplementedError) as error:
        # Tensors without a storage answer to nothing.
        raise source.damaged(f"it holds a tensor that is none ({error})") from error
    return value


def read_state_dict(source: Untrusted | Path) -> dict[str, Tensor]:
    """The tensors by name in a torch file that holds just these, whole or under a known key."""
    if isinstance(source, Path):
        source = read_untrusted(source)
    value = read_checkpoint(source)
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(value, Mapping) and isinstance(value.get(key), Mapping):
            value = value[key]
    if not isinstance(value, Mapping) or not value:
        raise source.damaged(f"it holds a {type(value).__name__}, not tensors by name")
    if odd := [str(name) for name, item in value.items() if not isinstance(item, Tensor)]:
        raise source.damaged(f"it holds more than tensors: {listed(odd)}")
    return {str(name): tensor for name, tensor in value.items()}


def inspect_zip(source: Untrusted) -> tuple[Opened, int]:
    """The names in the pickle of a torch zip, and how many bytes of tensors there can be."""
    with Archive(source, lambda name: True) as archive:
        pickles = [name for name in archive.names if name.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1:
            raise source.damaged("it is a zip archive, but not one that torch.save wrote")
        folder = pickles[0].rpartition("/")[0]
        sizes = {name: archive.size(name) for name in archive.names}
        inner = archive.read(pickles[0])

    def stored(pid: Any) -> None:
        key, size = claim(pid)
        there = sizes.get(f"{folder}/data/{key}" if folder else f"data/{key}", -1)
        if size > there:
            raise ValueError(f"storage {key} claims {size:,} bytes, the file has {there:,}")

    return unpickle_inert(inner, stored), sum(sizes.values())


def inspect_legacy(source: Untrusted) -> tuple[Opened, int]:
    """Like `inspect_zip`, for files from before torch 1.6: four pickles, then the storages."""
    stream, held = io.BytesIO(source.content), len(source.content)

    def stored(pid: Any) -> None:
        key, size = claim(pid)
        if size > held:
            raise ValueError(f"storage {key} claims {size:,} bytes, the file has {held:,}")

    opened = unpickle_inert(source, stored, stream)
    if opened.value != LEGACY_MAGIC:
        raise judge(source, opened, ValueError("it is not a file that torch.save wrote"))
    for _ in range(3):
        opened = unpickle_inert(source, stored, stream)
    return opened, held


def claim(pid: Any) -> tuple[str, int]:
    """The key of a storage and how many bytes it claims to have, from torch's persistent id."""
    if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
        raise ValueError("it points at something that is no storage")
    kind, key, count = pid[1], pid[2], pid[4]
    if not isinstance(count, int) or count < 0:
        raise ValueError(f"storage {key} has no size")
    name = getattr(kind, "__name__", "").removesuffix("Storage")
    return str(key), count * ITEM_BYTES.get(name, 1)


def judge(source: Untrusted, opened: Opened, error: Exception) -> Exception:
    """Whether torch would not open the file for its code, or could not for its damage."""
    code = sorted(name for name in opened.names if is_code(name))
    objects = sorted(name for name in opened.names if is_object(name))
    if code:
        return source.refused(f"it is a pickle that would call {listed(code)}", INSTEAD)
    if objects:
        return source.refused(f"it holds more than tensors: {listed(objects)}", INSTEAD)
    return source.damaged(f"torch cannot read it ({str(error).partition(chr(10))[0]})")


def is_object(name: str) -> bool:
    """Whether `module.name` is a class of a library, as whole networks saved with pickle need."""
    root = name.partition(".")[0]
    if root == "torch":
        return name.startswith(("torch.nn.modules.", "torch.optim."))
    return root == "__main__" or root not in {*sys.stdlib_module_names, "__builtin__"}


def check_tensors(source: Untrusted, value: Any, held: int) -> None:
    """Raises CorruptFile for tensors that are larger than what the file holds."""
    storages: dict[int, int] = {}
    for name, tensor in tensors_of(value, source):
        if not is_plain(tensor):
            raise source.damaged(f"{name} is a {tensor.layout} tensor on {tensor.device}")
        storage = tensor.untyped_storage()
        size = storage.nbytes()
        storages[storage.data_ptr()] = size
        if math.prod(tensor.shape) * tensor.element_size() > size:
            raise source.damaged(f"{name} claims shape {list(tensor.shape)} of {size:,} bytes")
    if sum(storages.values()) > held:
        raise source.damaged(f"its tensors take {sum(storages.values()):,} bytes, it has {held:,}")


def is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is numbers side by side in memory."""
    is_dense = tensor.layout is torch.strided and not tensor.is_nested
    return is_dense and not tensor.is_quantized and tensor.device.type == "cpu"


def tensors_of(value: Any, source: Untrusted) -> Iterator[tuple[str, Tensor]]:
    """Every tensor in nested containers, each container visited once, and what it is called."""
    waiting, seen = [("it", value)], set[int]()
    while waiting:
        name, item = waiting.pop()
        if isinstance(item, Tensor):
            yield name, item
        if not isinstance(item, Mapping | list | tuple) or id(item) in seen:
            continue
        seen.add(id(item))
        parts = item.items() if isinstance(item, Mapping) else enumerate(item)
        waiting += [(str(key) if name == "it" else f"{name}.{key}", part) for key, part in parts]
