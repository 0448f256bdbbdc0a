"""The token of a study's studio, the same for half a day: an open page joins the next one again.

<state>/studios/<hash of the study's place>    the token, for its owner's eyes only
"""

import hashlib
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path

from policyscope.studies.trust import state

SECONDS_KEPT = 12 * 3600
OTHERS = 0o077
"""Bits of a file's mode that let others at it."""


def token_of(study: Path) -> str:
    """The token that the study was last served with, or a new one if that was long ago.

    Where nothing can be kept it is a new one each time.
    """
    place = place_of(study)
    found = read(place)
    if found is not None:
        return found
    token = new_token()
    with suppress(OSError):
        write(place, token)
    return token


def new_token() -> str:
    """A token that nobody can guess."""
    return secrets.token_urlsafe(24)


def place_of(study: Path) -> Path:
    """Where the token of a study is kept."""
    name = hashlib.sha256(str(study.resolve()).encode()).hexdigest()[:32]
    return state() / "studios" / name


def read(place: Path) -> str | None:
    """A token that is young enough and that nobody else could have read or put there."""
    try:
        with place.open(encoding="utf-8") as file:
            status = os.fstat(file.fileno())
            token = file.read(100)
    except (OSError, ValueError):
        return None
    is_ours = not hasattr(os, "getuid") or status.st_uid == os.getuid()
    is_private = os.name == "nt" or not status.st_mode & OTHERS
    is_young = 0 <= time.time() - status.st_mtime < SECONDS_KEPT
    return token if is_ours and is_private and is_young and len(token) == 32 else None


def write(place: Path, token: str) -> None:
    """Keeps a token where only its owner can read it."""
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = place.with_name(f".{place.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    made = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(made, "w", encoding="utf-8") as file:
        file.write(token)
    temporary.replace(place)
