"""A message holds its header and its pictures, and one that is cut short is refused."""

import io
import math

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policyscope.errors import InvalidInput
from policyscope.studio.wire import decode, encode, png

HEADERS = st.dictionaries(
    st.text(max_size=5).filter(lambda name: name != "frames"),
    st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    max_size=4,
)


@given(header=HEADERS, pictures=st.lists(st.binary(max_size=20), max_size=3))
def test_decoding_undoes_encoding(header: dict, pictures: list[bytes]) -> None:
    found, parts = decode(encode(header, pictures))
    assert found.pop("frames") == [len(picture) for picture in pictures]
    assert (found, parts) == (header, pictures)


@given(cut=st.integers(1, 40))
def test_a_message_cut_short_is_refused(cut: int) -> None:
    whole = encode({"step": 1}, [b"a picture"])
    with pytest.raises(InvalidInput):
        decode(whole[:-cut])


def test_what_is_not_known_is_null() -> None:
    assert decode(encode({"value": math.nan, "reward": np.float32(2)}, []))[0] == {
        "value": None,
        "reward": 2.0,
        "frames": [],
    }


@pytest.mark.parametrize("shape", [(7, 5, 3), (1, 1, 3), (400, 600, 3)])
def test_a_png_is_the_picture(shape: tuple[int, ...]) -> None:
    # Some environments give a view in which rows and columns have changed places.
    turned = np.random.default_rng(0).integers(0, 256, (shape[1], shape[0], 3), np.uint8)
    picture = turned.transpose(1, 0, 2)
    opened = PIL.Image.open(io.BytesIO(png(picture)), formats=("PNG",))
    np.testing.assert_array_equal(np.asarray(opened), picture)
