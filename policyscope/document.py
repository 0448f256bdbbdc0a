"""Results as JSON documents: strict (what is not known is null, never NaN) and written whole."""

import errno
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from policyscope.errors import CorruptFile, DiskFull, InvalidInput


def strict(value: Any) -> Any:
    """`value` with every NaN and infinity replaced by null, and numpy numbers by Python's."""
    if isinstance(value, Mapping):
        return {str(key): strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    if hasattr(value, "tolist"):
        return strict(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def as_text(document: Mapping[str, Any], indent: int | None = 1) -> str:
    """The document as JSON text."""
    return json.dumps(strict(document), indent=indent, ensure_ascii=False, allow_nan=False)


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    """Writes the document to `path`, or leaves what was there; DiskFull where there is no room."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(as_text(document) + "\n", "utf-8")
        temporary.replace(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"No room for {path}. Everything kept before stays; make room."
            ) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def check_place(path: Path) -> None:
    """Makes the folder of the file `path`, so that work begins only where its result can be kept.

    Raises InvalidInput where no file can be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"Cannot write {path}: {error}. Choose another place.") from error
    if path.is_dir() or not path.name:
        raise InvalidInput(f"Cannot write {path}: it is a directory. Name a file.")
    if not os.access(path.parent, os.W_OK):
        raise InvalidInput(
            f"Cannot write {path}: {path.parent} is read-only. Choose another place."
        )


def read_document(path: Path) -> dict[str, Any]:
    """The document at `path`; CorruptFile where it is not one."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise CorruptFile(
            f"{path} is not JSON: {error}. Restore it from a copy, or delete it and run the "
            "command that makes it."
        ) from error
    if not isinstance(found, dict):
        raise CorruptFile(f"{path} holds no document. Delete it and run the command that makes it.")
    return found
