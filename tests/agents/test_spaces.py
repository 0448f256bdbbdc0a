from typing import Any

import gymnasium.spaces
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policyscope.agents.spaces import (
    Box,
    Discrete,
    MultiBinary,
    MultiDiscrete,
    Parts,
    describe_space,
    parse_space,
)
from policyscope.errors import InvalidInput

sizes = st.integers(1, 9)


def as_text(space: gymnasium.Space[Any]) -> dict[str, Any]:
    """The readable part of a space as checkpoints keep it: text for whatever JSON cannot hold."""
    facts = {
        name: value if isinstance(value, int | str | type(None)) else str(value)
        for name, value in vars(space).items()
    }
    shape = None if space.shape is None else list(space.shape)
    kind = type(space)
    return {":type:": f"<class '{kind.__module__}.{kind.__name__}'>", **facts, "_shape": shape}


@st.composite
def plain_spaces(draw: st.DrawFn) -> gymnasium.Space[Any]:
    match draw(st.sampled_from(["box", "image", "discrete", "multi", "binary"])):
        case "box":
            shape = tuple(draw(st.lists(sizes, min_size=1, max_size=2)))
            low = draw(st.floats(-100, 0, width=16))
            return gymnasium.spaces.Box(low, low + draw(sizes), shape, np.float32)
        case "image":
            return gymnasium.spaces.Box(0, 255, (3, 48, 48), np.uint8)
        case "discrete":
            return gymnasium.spaces.Discrete(draw(sizes))
        case "multi":
            return gymnasium.spaces.MultiDiscrete(draw(st.lists(sizes, min_size=1, max_size=4)))
        case _:
            return gymnasium.spaces.MultiBinary(draw(sizes))


def assert_same(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    if isinstance(one, Parts):
        assert [*one.spaces] == [*other.spaces]
        for name, part in one.spaces.items():
            assert_same(part, other.spaces[name])
    elif isinstance(one, Box):
        assert (one.shape, one.dtype, one.is_image) == (other.shape, other.dtype, other.is_image)
        assert one.low is not None
        np.testing.assert_allclose(one.low, other.low, 1e-6)
        np.testing.assert_allclose(one.high, other.high, 1e-6)
    else:
        assert one == other


@given(plain_spaces())
def test_the_text_says_what_the_space_says(space: gymnasium.Space[Any]) -> None:
    assert_same(parse_space(as_text(space)), describe_space(space))


@given(st.lists(plain_spaces(), min_size=1, max_size=4))
def test_the_text_of_parts_says_what_they_say(parts: list[gymnasium.Space[Any]]) -> None:
    space = gymnasium.spaces.Dict({f"part_{index}": part for index, part in enumerate(parts)})
    assert_same(parse_space(as_text(space)), describe_space(space))


def test_texts_of_old_versions_are_read() -> None:
    box = {
        ":type:": "<class 'gym.spaces.box.Box'>",
        "dtype": "float32",
        "shape": [2],
        "low": "[-4.8000002e+00 -inf]",
        "high": "[inf 1.]",
    }
    parsed = parse_space(box)
    assert isinstance(parsed, Box)
    assert parsed.shape == (2,)
    assert parsed.low is not None
    assert parsed.low.tolist() == [-4.8000002, -np.inf]
    old = (
        "OrderedDict([('goal', Box([-10. -10.], [10. 10.], (2,), float32)), "
        "('seen', Box(0, 255, (3, 8, 8), uint8)), ('door', Discrete(3))])"
    )
    parts = parse_space({":type:": "<class 'gym.spaces.dict.Dict'>", "spaces": old})
    assert isinstance(parts, Parts)
    assert [*parts.spaces] == ["goal", "seen", "door"]
    assert isinstance(parts.spaces["seen"], Box)
    assert parts.spaces["seen"].is_image
    assert parts.spaces["door"] == Discrete(3)


def test_bounds_that_the_text_leaves_out_are_not_made_up() -> None:
    text = {":type:": "Box'>", "dtype": "float32", "_shape": [2000], "low": "[-1. -2. ... -1.]"}
    parsed = parse_space({**text, "high": "[1. 1. ... 1.]"})
    assert isinstance(parsed, Box)
    assert parsed.low is None
    assert parsed.high is not None
    assert parsed.high.shape == (2000,)


@given(st.recursive(st.none() | st.integers() | st.text(), lambda one: st.lists(one)))
def test_garbage_is_no_space(garbage: Any) -> None:
    assert parse_space(garbage) is None
    for kind in ("Box", "Discrete", "MultiDiscrete", "MultiBinary", "Dict"):
        text = {":type:": f"<class 'x.{kind}'>", "_shape": garbage, "n": garbage, "low": garbage}
        parsed = parse_space({**text, "nvec": garbage, "spaces": garbage})
        assert parsed is None or isinstance(
            parsed, Box | Discrete | MultiDiscrete | MultiBinary | Parts
        )


def test_other_spaces_are_refused() -> None:
    with pytest.raises(InvalidInput, match="Text"):
        describe_space(gymnasium.spaces.Text(4))
