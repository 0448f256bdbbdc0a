"""Pickles that nobody vouches for, read without running anything they name.

A pickle is a program that calls what it names. Here every name stands for an inert class made on
the spot, except numpy's way to write arrays and numbers, which is read by the functions below;
nothing is imported. Names that belong to the standard library have no business in a file of
numbers, so they are refused with the file.
"""

import io
import math
import pickle
import pickletools
import re
import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from policyscope.agents.untrusted import Untrusted, listed

OPCODES = 5_000_000
DIMENSIONS = 32
PLAIN_DTYPE = re.compile(r"(b1|[iu][1248]|f[248]|c(8|16))")
TENSOR = re.compile(r"torch\.(\w+\.)*\w*(Tensor|Storage)")
INERT = {
    "collections": {"OrderedDict", "deque", "defaultdict"},
    "copyreg": {"_reconstructor", "__newobj__"},
    "_codecs": {"encode"},
    "builtins": {
        *("object", "set", "frozenset", "dict", "list", "tuple", "slice", "range"),
        *("bool", "int", "float", "complex", "str", "bytes", "bytearray", "type"),
    },
}
"""What the standard library may be named for; it is not called either."""


class StandIn:
    """Keeps what a pickle does to an object, and does nothing."""

    arguments: tuple[Any, ...]
    state: Any

    def __new__(cls, *arguments: Any, **named: Any) -> "StandIn":
        made = object.__new__(cls)
        made.__dict__.update(arguments=arguments, state=None)
        return made

    def __init__(self, *arguments: Any, **named: Any) -> None: ...

    def __setstate__(self, state: Any) -> None:
        self.__dict__["state"] = state

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def append(self, item: Any) -> None:
        """Takes an item of a list and forgets it."""

    def extend(self, items: Any) -> None:
        """Takes items of a list and forgets them."""

    def add(self, item: Any) -> None:
        """Takes an item of a set and forgets it."""


class Sized(StandIn):
    """Stands for what takes as much memory as it is told when it is called."""

    def __new__(cls, *arguments: Any, **named: Any) -> "StandIn":
        if any(isinstance(argument, int) for argument in arguments):
            raise pickle.UnpicklingError(f"a {cls.__name__} of {arguments[0]:,} places")
        return super().__new__(cls, *arguments, **named)


class PickledDtype(StandIn):
    """numpy's dtype, as far as it is of plain numbers."""

    @property
    def plain(self) -> np.dtype[Any] | None:
        """The dtype; None where it is not of plain numbers."""
        code = self.arguments[0] if self.arguments else None
        if not isinstance(code, str) or not PLAIN_DTYPE.fullmatch(code):
            return None
        state = self.state
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else "|"
        return np.dtype(code).newbyteorder(order if order in ("<", ">") else "=")


class PickledArray(StandIn):
    """numpy's array: made empty, then filled by the state that follows."""

    value: np.ndarray | None = None
    """None where the array does not hold plain numbers."""

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise pickle.UnpicklingError("an array without shape and content")
        _, shape, dtype, is_fortran, content = state
        self.__dict__["value"] = to_array(content, dtype, shape, "F" if is_fortran else "C")


def to_array(content: Any, dtype: Any, shape: Any, order: str) -> np.ndarray | None:
    """The array of this shape, which must be just what `content` fills; None if not of numbers."""
    plain = dtype.plain if isinstance(dtype, PickledDtype) else None
    if plain is None:
        return None
    if not isinstance(shape, tuple) or len(shape) > DIMENSIONS:
        raise pickle.UnpicklingError("an array whose shape is no shape")
    if not all(isinstance(size, int) and size >= 0 for size in shape):
        raise pickle.UnpicklingError(f"an array of shape {shape}")
    if isinstance(content, str):
        content = content.encode("latin1")
    if not isinstance(content, bytes | bytearray):
        raise pickle.UnpicklingError("an array without content")
    if math.prod(shape) * plain.itemsize != len(content):
        raise pickle.UnpicklingError(
            f"an array of shape {shape} and type {plain} that holds {len(content):,} bytes"
        )
    return np.frombuffer(content, plain).reshape(shape, order="F" if order == "F" else "C").copy()


def to_scalar(dtype: Any, content: Any = b"") -> Any:
    """numpy's way to write one number."""
    array = to_array(content, dtype, (), "C")
    return None if array is None else array[()]


def from_buffer(content: Any, dtype: Any, shape: Any, order: Any) -> PickledArray:
    """numpy's way to write an array since pickle protocol 5."""
    made = object.__new__(PickledArray)
    made.__dict__["value"] = to_array(content, dtype, shape, str(order))
    return made


def encode(text: Any, encoding: Any = "latin1") -> bytes:
    """How pickle protocol 2 writes bytes."""
    return str(text).encode("latin1")


READERS: dict[str, Callable[..., Any]] = {
    "numpy.dtype": PickledDtype,
    "numpy.ndarray": PickledArray,
    "_codecs.encode": encode,
    "collections.OrderedDict": OrderedDict,
}
for package in ("numpy.core", "numpy._core"):
    READERS[f"{package}.multiarray._reconstruct"] = PickledArray
    READERS[f"{package}.multiarray.scalar"] = to_scalar
    READERS[f"{package}.numeric._frombuffer"] = from_buffer


@dataclass(frozen=True)
class Opened:
    """A pickle's object, in which all but numbers and containers are stand-ins."""

    value: Any
    names: frozenset[str] = field(default_factory=frozenset)
    """Every `module.name` that the pickle asks for."""


class InertUnpickler(pickle.Unpickler):
    """Reads a pickle with stand-ins for everything it names."""

    def __init__(self, content: io.BytesIO, stored: Callable[[Any], Any]) -> None:
        super().__init__(content)
        self.stored = stored
        self.names: set[str] = set()

    def find_class(self, module_name: str, global_name: str) -> Any:
        name = f"{module_name}.{global_name}"
        self.names.add(name)
        kind = Sized if name == "builtins.bytearray" or TENSOR.fullmatch(name) else StandIn
        return READERS.get(name) or type(global_name, (kind,), {"__module__": module_name})

    def persistent_load(self, pid: Any) -> Any:
        """What the caller says that a persistent id stands for."""
        return self.stored(pid)


def unpickle(source: Untrusted) -> Opened:
    """The object in a pickle, with nothing of it run.

    Raises UntrustedFile when it names what only code needs, CorruptFile when it is damaged.
    """

    def stored(pid: Any) -> Any:
        raise pickle.UnpicklingError("it points at data that is not in it")

    opened = unpickle_inert(source, stored)
    if refused := sorted(name for name in opened.names if is_code(name)):
        raise source.refused(f"it is a pickle that would call {listed(refused)}")
    return opened


def unpickle_inert(
    source: Untrusted, stored: Callable[[Any], Any], content: io.BytesIO | None = None
) -> Opened:
    """Like `unpickle`, but the caller judges `names`; `stored` answers to persistent ids."""
    stream = content or io.BytesIO(source.content)
    start = stream.tell()
    try:
        check_opcodes(stream)
        stream.seek(start)
        reader = InertUnpickler(stream, stored)
        return Opened(reader.load(), frozenset(reader.names))
    except Exception as error:
        # What a malformed pickle raises has no end of kinds; none of them is ours to tell apart.
        raise source.damaged(f"its pickle cannot be read ({error or type(error).__name__})") from (
            error
        )


def check_opcodes(stream: io.BytesIO) -> None:
    """Raises ValueError for a pickle that would make the reader itself grow without bound."""
    for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if count > OPCODES:
            raise ValueError(f"more than {OPCODES:,} instructions")
        # The reader's memory of past objects is a table as long as the largest number in use.
        if "PUT" in opcode.name and isinstance(argument, int) and argument > 2 * count + 1024:
            raise ValueError(f"it wants to remember {argument:,} objects")


def is_code(name: str) -> bool:
    """Whether a pickle that asks for `module.name` is more than numbers and containers."""
    module, _, last = name.replace("__builtin__", "builtins").rpartition(".")
    is_standard = module.partition(".")[0] in {*sys.stdlib_module_names} - {"__main__"}
    return is_standard and name not in READERS and last not in INERT.get(module, ())
