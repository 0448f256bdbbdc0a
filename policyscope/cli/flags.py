"""Arguments of commands as values: what argparse is told, and how their texts are read."""

import argparse
import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from policyscope.errors import InvalidInput

LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True)
class Flag:
    """One argument: its names, and what argparse is told about it."""

    names: tuple[str, ...]
    options: dict[str, Any]


def flag(*names: str, **options: Any) -> Flag:
    """An argument as argparse's add_argument takes it."""
    return Flag(names, options)


def kind_flags(kind: type) -> dict[str, dict[str, Any]]:
    """For each field of a dictionary class, what argparse is told about it."""
    flags: dict[str, dict[str, Any]] = {}
    for one in dataclasses.fields(kind):
        required = one.default is dataclasses.MISSING
        options: dict[str, Any] = {"help": one.metadata.get("help", ""), "required": required}
        if one.type is bool:
            options |= {"action": argparse.BooleanOptionalAction}
        else:
            options |= {"type": one.type, "metavar": "X"}
        if not required:
            options |= {"default": one.default}
        flags[one.name] = options
    return flags


def parse_pair(text: str) -> tuple[str, Any]:
    """`k=v` as a name and a value: a number or true/false where it reads as one."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InvalidInput(f"--env-arg {text!r}: write it as name=value.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def parse_seed(text: str) -> int:
    """A seed: every random stream takes it, and its episodes' seeds stay 64-bit numbers."""
    if not text.isdecimal() or int(text) > LARGEST_SEED:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 to {LARGEST_SEED}")
    return int(text)
