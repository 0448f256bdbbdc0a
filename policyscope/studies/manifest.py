"""study.json: what a study is about, and which software wrote it."""

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from policyscope.document import read_document, write_document
from policyscope.errors import CorruptFile, InvalidInput, NewerFormat, UnknownName

FORMAT = 1
MANIFEST = "study.json"
PACKAGES = ("policyscope", "torch", "numpy", "gymnasium")
NEEDED = {
    "agent": {"spec", "file", "folder", "reopen", "fingerprint"},
    "environment": {"id", "arguments"},
}
"""What a study cannot be opened without."""


def software() -> dict[str, str]:
    """The versions that results depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


@dataclass(frozen=True)
class Manifest:
    """The agent and the environment of a study."""

    agent: Mapping[str, Any]
    """`spec` opens it again; `fingerprint` tells whether it is still the same."""
    environment: Mapping[str, Any]
    """`id` and `arguments`."""
    seed: int = 0
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    versions: Mapping[str, str] = field(default_factory=software)


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Writes study.json whole."""
    write_document(directory / MANIFEST, {"format": FORMAT, **asdict(manifest)})


def read_manifest(directory: Path) -> Manifest:
    """The manifest of the study in `directory`; UnknownName where there is none."""
    path = directory / MANIFEST
    try:
        facts = read_document(path)
    except FileNotFoundError:
        near = [str(found.parent) for found in directory.parent.glob(f"*/{MANIFEST}")]
        error = UnknownName.among("study", str(directory), sorted(near))
        raise UnknownName(
            f"{error} Make one with: policyscope new {directory} --agent … --env …"
        ) from None
    except (NotADirectoryError, IsADirectoryError, PermissionError) as error:
        raise InvalidInput(f"{directory} cannot be a study: {error}") from None
    if not isinstance(facts.get("format"), int):
        raise CorruptFile(f"{path} has no format number. Restore it from a copy.")
    if facts["format"] > FORMAT:
        raise NewerFormat(
            f"{directory} has study format {facts['format']}; this policyscope reads up to "
            f"{FORMAT}. Update it: pip install --upgrade policyscope"
        )
    for name, keys in NEEDED.items():
        if not (isinstance(facts.get(name), dict) and keys <= facts[name].keys()):
            raise CorruptFile(
                f"{path} lacks {name} with {', '.join(sorted(keys))}. Restore it from a copy."
            )
    known = {one.name for one in fields(Manifest)}
    return Manifest(**{name: value for name, value in facts.items() if name in known})
