"""Which studies were made here: only those may name code of the user's own.

A study can name a `module:function` that makes its agent, or an environment `module:Name-v0`.
Opening one that came from elsewhere would run whatever is found under that name. So making such a
study leaves a mark in the user's own folder, and opening one without its mark needs `trust`.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from policyscope.errors import UntrustedFile
from policyscope.studies.manifest import Manifest


def state() -> Path:
    """The folder of what is remembered between runs: $POLICYSCOPE_STATE, or the user's own."""
    given = os.environ.get("POLICYSCOPE_STATE")
    if given:
        return Path(given)
    home = os.environ.get("XDG_STATE_HOME", Path.home() / ".local" / "state")
    return Path(home) / "policyscope"


def marks() -> Path:
    """The file of marks."""
    return state() / "studies-made-here"


def names_code(manifest: Manifest) -> list[str]:
    """What the study names that Python would import."""
    agent: Mapping[str, Any] = manifest.agent
    named = [] if agent["file"] or not agent["spec"] else [str(agent["spec"])]
    environment = str(manifest.environment["id"])
    return [*named, environment] if ":" in environment else named


def mark(manifest: Manifest) -> None:
    """Notes that a study which names code was made here; where that cannot be kept, it is not."""
    if not names_code(manifest):
        return
    try:
        place = marks()
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("a", encoding="utf-8") as file:
            file.write(digest(manifest) + "\n")
    except OSError:
        return


def check_trusted(folder: Path, manifest: Manifest) -> None:
    """Raises UntrustedFile where the study names code and was not made here."""
    named = names_code(manifest)
    if not named:
        return
    place = marks()
    if place.is_file() and digest(manifest) in place.read_text("utf-8").split():
        return
    raise UntrustedFile(
        f"{folder} was not made here, and opening it would import {' and '.join(named)}. "
        "If you trust it, open it with --trust (from Python: trust=True)."
    )


def digest(manifest: Manifest) -> str:
    """What tells a study from every other that names the same code."""
    named = {name: manifest.agent[name] for name in ("spec", "folder", "fingerprint")}
    facts = {**named, "environment": dict(manifest.environment), "created": manifest.created}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
