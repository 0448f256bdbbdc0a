"""The binary message of live play: a header and pictures in one piece.

uint32, little-endian   length of the header in bytes
JSON, UTF-8             the header; `frames` holds the length of each picture in bytes
PNG, PNG, …             the pictures, one after the other
"""

import io
import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import UInt8
from numpy import ndarray

from policyscope.document import strict
from policyscope.errors import InvalidInput
from policyscope.recordings.frames import pillow

LENGTH = struct.Struct("<I")
FASTEST = 1
"""Of PNG's levels: drawing must not cost more time than thinking."""


def png(picture: UInt8[ndarray, "height width 3"]) -> bytes:
    """The picture as a PNG file."""
    file = io.BytesIO()
    pillow().fromarray(picture).save(file, "PNG", compress_level=FASTEST)
    return file.getvalue()


def encode(header: Mapping[str, Any], pictures: Sequence[bytes]) -> bytes:
    """The message; `frames` is added to the header."""
    facts = strict({**header, "frames": [len(picture) for picture in pictures]})
    text = json.dumps(facts, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    return b"".join((LENGTH.pack(len(text)), text, *pictures))


def decode(message: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """The header and the pictures of a message; InvalidInput where it is cut short."""
    try:
        (length,) = LENGTH.unpack_from(message)
        start = LENGTH.size + length
        header = json.loads(message[LENGTH.size : start])
        pictures = []
        for size in header["frames"]:
            pictures.append(message[start : start + size])
            start += size
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"This is no message of live play: {error!r}.") from error
    if start != len(message):
        raise InvalidInput(f"The message should have {start} bytes and has {len(message)}.")
    return header, pictures
