"""What clients send, checked before anything is done with it: JSON, names, and types."""

import inspect
import json
import math
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin

from policyscope.errors import InvalidInput, UnknownName


def parse(text: str | bytes) -> dict[str, Any]:
    """The JSON object in `text`; InvalidInput for anything else, NaN and broken text included."""
    try:
        found = json.loads(text, parse_constant=_refuse)
        # Half of a surrogate pair is JSON, but no text that could be written to a file.
        json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"This is not JSON: {type(error).__name__}: {error}.") from error
    if not isinstance(found, dict):
        raise InvalidInput(f"Expected a JSON object, not {type(found).__name__}.")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number here")


def check_call(what: str, takes: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments, by name, as `takes` can be called with them; an error that says what is amiss.

    Raises UnknownName for a name that it does not take, InvalidInput for a value or one left out.
    """
    known = {
        name: one
        for name, one in inspect.signature(takes).parameters.items()
        if name != "self" and one.kind is not inspect.Parameter.VAR_KEYWORD
    }
    for name, value in given.items():
        if name not in known:
            raise UnknownName.among(f"argument of {what}", name, known)
        hint = known[name].annotation
        if not fits(value, hint):
            raise InvalidInput(f"{name} of {what} is {shortened(value)}; expected {spoken(hint)}.")
    for name, one in known.items():
        if one.default is inspect.Parameter.empty and name not in given:
            raise InvalidInput(f"{what} needs {name}.")
    return {name: as_hinted(value, known[name].annotation) for name, value in given.items()}


def as_hinted(value: Any, hint: Any) -> Any:
    """A value that fits, with 1 as 1.0 where a float is wanted: JSON tells them not apart."""
    if hint is float:
        return float(value)
    if get_origin(hint) in (Sequence, list, tuple):
        return [as_hinted(one, get_args(hint)[0]) for one in value]
    if get_origin(hint) in (Union, types.UnionType):
        exact = [one for one in get_args(hint) if one is type(value)]
        return as_hinted(value, next(one for one in (*exact, *get_args(hint)) if fits(value, one)))
    return value


def fits(value: Any, hint: Any) -> bool:
    """Whether a JSON value is of an annotated type; a type that JSON has not fits nothing."""
    origin = get_origin(hint)
    if hint is Any:
        return True
    if hint is None or hint is type(None):
        return value is None
    if origin in (Union, types.UnionType):
        return any(fits(value, one) for one in get_args(hint))
    if origin is Literal:
        return value in get_args(hint)
    if origin in (Sequence, list, tuple):
        (item, *_) = get_args(hint)
        return isinstance(value, list) and all(fits(one, item) for one in value)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and is_small(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and is_small(value)
    if hint in (str, bool, dict):
        return isinstance(value, hint)
    return False


def is_small(number: int | float) -> bool:
    """Whether a number is finite, and an integer of 64 bits if it is one."""
    return math.isfinite(number) if isinstance(number, float) else abs(number) < 2**63


def spoken(hint: Any) -> str:
    """A type in words, for an error message."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        said = [spoken(one) for one in get_args(hint)]
        return " or ".join(dict.fromkeys(word for word in said if word))
    if origin is Literal:
        return " or ".join(repr(one) for one in get_args(hint))
    if origin in (Sequence, list, tuple):
        return f"a list of {spoken(get_args(hint)[0])}"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    words |= {dict: "an object", type(None): "null"}
    return words.get(hint, "")


def shortened(value: Any) -> str:
    """A value as a message shows it."""
    said = json.dumps(value, ensure_ascii=False)
    return said if len(said) <= 60 else f"{said[:57]}…"
