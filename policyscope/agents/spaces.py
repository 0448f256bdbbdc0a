"""What an agent observes and does, as plain values: read from text in a file, or from gymnasium.

Checkpoints describe their spaces only in pickles and in the text beside them; the text is enough.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from policyscope.errors import InvalidInput

NUMBER = re.compile(r"[-+]?(?:inf|nan|(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)", re.IGNORECASE)
TEXT_LENGTH = 1 << 20
LARGEST_SHAPE = 1 << 28
"""More numbers in one observation than any camera has."""


@dataclass(frozen=True, eq=False)
class Box:
    """Arrays of one shape within bounds; a bound is None where the text left it out."""

    shape: tuple[int, ...]
    dtype: str = "float32"
    low: Float[np.ndarray, "..."] | None = field(default=None, repr=False)
    high: Float[np.ndarray, "..."] | None = field(default=None, repr=False)

    @cached_property
    def is_image(self) -> bool:
        """Whether Stable-Baselines3 takes it for one: bytes from 0 to 255 on three axes."""
        if len(self.shape) != 3 or self.dtype != "uint8":
            return False
        return (self.low is None or not np.any(self.low)) and (
            self.high is None or bool(np.all(self.high == 255))
        )


@dataclass(frozen=True)
class Discrete:
    """One of `n`."""

    n: int
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class MultiDiscrete:
    """Several choices at once, each one of its own number."""

    counts: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """One number for every choice."""
        return (len(self.counts),)


@dataclass(frozen=True)
class MultiBinary:
    """Several yes-or-no at once."""

    n: int

    @property
    def shape(self) -> tuple[int, ...]:
        """One number for every question."""
        return (self.n,)


@dataclass(frozen=True)
class Parts:
    """Named spaces, in the order in which a network joins them."""

    spaces: Mapping[str, "Space"]
    shape: tuple[int, ...] = ()


Space = Box | Discrete | MultiDiscrete | MultiBinary | Parts


def describe_space(space: Any) -> Space:
    """A gymnasium space as a plain value; gymnasium itself is not needed."""
    match type(space).__name__:
        case "Box":
            low, high = (np.asarray(bound, np.float64) for bound in (space.low, space.high))
            return Box(tuple(space.shape), str(space.dtype), low, high)
        case "Discrete":
            return Discrete(int(space.n))
        case "MultiDiscrete":
            return MultiDiscrete(tuple(int(count) for count in np.ravel(space.nvec)))
        case "MultiBinary":
            return MultiBinary(int(np.prod(space.n)))
        case "Dict":
            return Parts({key: describe_space(part) for key, part in space.spaces.items()})
        case other:
            raise InvalidInput(
                f"The space is a {other}; expected Box, Discrete, MultiDiscrete, MultiBinary or "
                "Dict. Put a wrapper around the environment that gives one of these."
            )


def parse_space(text: Any) -> Space | None:
    """The space that the readable part of a checkpoint's entry describes; None if it does not."""
    if not isinstance(text, Mapping):
        return None
    kind = str(text.get(":type:", "")).rpartition(".")[2].strip("'>")
    shape = text.get("_shape", text.get("shape"))
    try:
        match kind:
            case "Box":
                return to_box(shape, str(text.get("dtype")), text.get("low"), text.get("high"))
            case "Discrete":
                return Discrete(positive(int(text["n"])))
            case "MultiDiscrete":
                return to_choices(str(text["nvec"]))
            case "MultiBinary":
                return MultiBinary(positive(int(text["n"])))
            case "Dict":
                return Parts(dict(parse_parts(str(text["spaces"])[:TEXT_LENGTH])))
    except (KeyError, TypeError, ValueError):
        return None
    return None


def parse_parts(text: str) -> Iterator[tuple[str, Space]]:
    """The named spaces in the text of a dictionary of them."""
    found = re.finditer(
        r"['\"]([^'\"]+)['\"]\s*[:,]\s*(Box|Discrete|MultiDiscrete|MultiBinary)\(", text
    )
    for match in found:
        inside = text[match.end() : closing(text, match.end())]
        match match[2]:
            case "Box":
                shape, dtype = re.findall(r"\(([\d,\s]*)\)\s*,\s*(\w+)\s*$", inside)[-1]
                bounds = inside[: inside.rindex("(")]
                low, high = split_bounds(bounds)
                yield (
                    match[1],
                    to_box([int(n) for n in re.findall(r"\d+", shape)], dtype, low, high),
                )
            case "Discrete":
                yield match[1], Discrete(positive(int(NUMBER.findall(inside)[0])))
            case "MultiDiscrete":
                yield match[1], to_choices(inside)
            case _:
                yield match[1], MultiBinary(positive(int(NUMBER.findall(inside)[0])))


def closing(text: str, start: int) -> int:
    """Where the bracket closes that was opened just before `start`."""
    depth = 1
    for place in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return place
    raise ValueError("brackets do not close")


def split_bounds(text: str) -> tuple[str, str]:
    """Two bounds, each a number or an array in brackets."""
    if "[" in text:
        middle = re.search(r"\]\s*,\s*\[", text)
        return (text[: middle.start()], text[middle.end() :]) if middle else (text, text)
    low, _, high = text.partition(",")
    return low, high


def to_box(shape: Any, dtype: str, low: Any, high: Any) -> Box:
    """The box of this shape with the bounds that these texts hold."""
    sizes = tuple(positive(int(size)) for size in shape)
    if math.prod(sizes) > LARGEST_SHAPE:
        raise ValueError(f"absurd shape {sizes}")
    return Box(sizes, dtype, to_bound(low, sizes), to_bound(high, sizes))


def to_bound(text: Any, shape: tuple[int, ...]) -> Float[np.ndarray, "..."] | None:
    """The numbers in the text of a bound; None where some of them are left out."""
    numbers = [float(one) for one in NUMBER.findall(str(text)[:TEXT_LENGTH])]
    if len(numbers) == math.prod(shape):
        return np.array(numbers).reshape(shape)
    if numbers and len(set(numbers)) == 1 and (len(numbers) == 1 or "..." in str(text)):
        return np.broadcast_to(np.array(numbers[0]), shape)
    return None


def to_choices(text: str) -> MultiDiscrete:
    """The numbers of choices in the text of an array."""
    counts = tuple(positive(int(float(one))) for one in NUMBER.findall(text.partition("]")[0]))
    if not counts:
        raise ValueError("no choices")
    return MultiDiscrete(counts)


def positive(number: int) -> int:
    """The number, which must count something."""
    if not 0 < number <= LARGEST_SHAPE:
        raise ValueError(f"expected a positive number, got {number}")
    return number
