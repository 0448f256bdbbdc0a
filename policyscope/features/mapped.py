"""Arrays in one safetensors file, read as memory maps: what is not looked at needs no memory.

Any program that reads safetensors opens them. (The library's own reader copies every array.)
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from policyscope.recordings.format import DTYPES
from policyscope.recordings.shard import ALIGNMENT, LENGTH_BYTES

Arrays = Mapping[str, Shaped[np.ndarray, "..."]]


def write_arrays(path: Path, arrays: Arrays, about: Mapping[str, str]) -> None:
    """Writes the arrays and facts about them, whole or not at all."""
    header: dict[str, object] = {"__metadata__": dict(about)}
    begin = 0
    for name, array in arrays.items():
        end = begin + array.nbytes
        dtype = DTYPES[array.dtype.name]
        header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(len(text).to_bytes(LENGTH_BYTES, "little") + text)
            for array in arrays.values():
                file.write(np.ascontiguousarray(array).data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def map_arrays(path: Path) -> tuple[dict[str, Shaped[np.ndarray, "..."]], dict[str, str]]:
    """The arrays of a file, read-only and mapped, and the facts; ValueError where it is none."""
    names = {spelled: name for name, spelled in DTYPES.items()}
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(LENGTH_BYTES), "little")
            if length > path.stat().st_size:
                raise ValueError("it is cut short")
            header = json.loads(file.read(length))
        about = header.pop("__metadata__", {})
        whole = np.memmap(path, np.uint8, "r", LENGTH_BYTES + length)
        arrays = {}
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            arrays[name] = whole[begin:end].view(names[entry["dtype"]]).reshape(entry["shape"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} holds no arrays: {error!r}") from error
    return arrays, about
