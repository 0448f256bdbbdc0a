"""What the benchmark is run on: agents with their environments, the zoo's and those of a folder.

A folder of agents has a `MANIFEST.json`: a list of entries with `dir`, `files` and `env_run`, as
public collections of checkpoints are easily written down.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from policyscope.agents.loading import CHECKPOINTS
from policyscope.envs.make import check_id
from policyscope.errors import CorruptFile, PolicyscopeError, UnknownName

MANIFEST = "MANIFEST.json"


@dataclass(frozen=True)
class Subject:
    """One agent to be decomposed."""

    name: str
    agent: str
    """What `open_agent` takes."""
    environment: str | None = None
    """None for the one that the agent says."""
    arguments: Mapping[str, Any] = field(default_factory=dict)


ZOO = (Subject("zoo-cartpole", "zoo:cartpole"),)


def subjects_in(folder: Path) -> tuple[list[Subject], dict[str, str]]:
    """The agents of a folder that can be run here, and why the others cannot, by name.

    Raises UnknownName where there is no manifest, and CorruptFile where it is none.
    """
    path = folder / MANIFEST
    if not path.exists():
        raise UnknownName(f"There is no {path}. Give a folder of agents that has a {MANIFEST}.")
    try:
        entries = [
            (str(e["dir"]), [str(file) for file in e["files"]], str(e["env_run"]))
            for e in json.loads(path.read_text("utf-8"))
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptFile(f"{path} is no manifest of agents: {error!r}.") from error
    found: list[Subject] = []
    left_out: dict[str, str] = {}
    for directory, files, environment in entries:
        name = directory.replace("/", "-")
        checkpoints = [file for file in files if file.endswith(CHECKPOINTS)]
        if not checkpoints:
            left_out[name] = f"none of its files is a checkpoint: {', '.join(files)}"
            continue
        try:
            check_id(environment)
        except PolicyscopeError as error:
            left_out[name] = str(error)
            continue
        # Of several points of one training, the last.
        file = folder / directory / checkpoints[-1]
        found.append(Subject(name, str(file.resolve()), environment))
    return found, left_out
