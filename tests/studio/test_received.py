"""What comes from outside is refused in words unless it is what was asked for."""

import re
from collections.abc import Sequence
from typing import Any, Literal

import pytest

from policyscope.errors import InvalidInput, UnknownName
from policyscope.studies.study import Study
from policyscope.studio.received import check_call, fits, parse

HOSTILE = [
    b"", b"{", b"[]", b"1", b"null", b'"text"', b"\xff\xfe", b'{"a": NaN}', b'{"a": -Infinity}',
    b'{"a": "\\ud800"}', b"[" * 100_000, b'{"a": ' + b"9" * 10_000 + b"}",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:20]))
def test_only_a_json_object_is_taken(text: bytes) -> None:
    with pytest.raises(InvalidInput):
        parse(text)


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (1, int, True),
        (True, int, False),
        (2**70, int, False),
        (1, float, True),
        (1.5, int, False),
        (None, int | None, True),
        ([1, 2], Sequence[int], True),
        ([1, "2"], Sequence[int], False),
        ("12", Sequence[str], False),
        ("a", Literal["a", "b"], True),
        ("c", Literal["a", "b"], False),
        ({}, dict, True),
        ("name", str | Study, True),
        ({}, Study, False),
    ],
)
def test_a_value_fits_its_type(value: Any, hint: Any, expected: bool) -> None:
    assert fits(value, hint) is expected


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        ({"dictionary": "a", "episode": 3}, UnknownName, "Did you mean 'episodes'?"),
        ({}, InvalidInput, "sweep needs dictionary"),
        ({"dictionary": 3}, InvalidInput, "dictionary of sweep is 3; expected text"),
        ({"dictionary": "a", "alphas": ["1"]}, InvalidInput, "expected a list of a number"),
        ({"dictionary": "a", "deterministic": 1}, InvalidInput, "expected true or false"),
    ],
)
def test_arguments_are_those_of_the_verb(arguments: dict, kind: type, said: str) -> None:
    with pytest.raises(kind, match=re.escape(said)):
        check_call("sweep", Study.sweep, arguments)


def test_good_arguments_pass() -> None:
    given = {"dictionary": "a", "features": [1], "alphas": [-1, 0.5], "episodes": 2, "seed": 1}
    check_call("sweep", Study.sweep, given)
