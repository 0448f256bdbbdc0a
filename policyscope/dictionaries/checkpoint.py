"""Checkpoints of a fit: one safetensors file, written whole, from which a killed fit goes on."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from policyscope.dictionaries.training import Training
from policyscope.errors import CorruptFile, InvalidInput

FORMAT = "policyscope-fit/1"


@dataclass
class Checkpoint:
    """Where a fit writes down how far it is, and how often."""

    path: Path
    every_seconds: float = 30.0
    resume: bool = False
    """Whether to go on from what is there; otherwise the fit begins anew."""
    written: float = field(default_factory=time.monotonic, init=False)

    def is_due(self) -> bool:
        """Whether it is time to write again."""
        return time.monotonic() - self.written >= self.every_seconds

    def write(self, training: Training, identity: Mapping[str, Any], rows: list[Any]) -> None:
        """Writes down the state of `training` and the rows of its curves so far."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f".{self.path.name}")
        tensors = {k: v.detach().cpu().contiguous() for k, v in training.state().items()}
        about = {"format": FORMAT, "identity": json.dumps(identity), "rows": json.dumps(rows)}
        save_file(tensors, temporary, about)
        temporary.replace(self.path)
        self.written = time.monotonic()

    def read(self, training: Training, identity: Mapping[str, Any]) -> list[dict[str, float]]:
        """Brings `training` to where the file says it was; the rows of the curves until there.

        Does nothing where there is no file or nothing is to be resumed. Raises InvalidInput where
        the file is of another fit, and CorruptFile where it cannot be read.
        """
        if not self.resume or not self.path.exists():
            return []
        try:
            with safe_open(self.path, "pt") as file:
                about = file.metadata()
                known, rows = json.loads(about["identity"]), json.loads(about["rows"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise CorruptFile(
                f"{self.path} is not a checkpoint of a fit ({error}). Fit without resuming."
            ) from error
        asked = json.loads(json.dumps(identity))
        differ = [name for name in asked if known.get(name) != asked[name]]
        if differ:
            was = ", ".join(f"{name} {known.get(name)!r}, now {asked[name]!r}" for name in differ)
            raise InvalidInput(
                f"{self.path} is of another fit: {was}. Ask for the same, or do not resume."
            )
        training.restore(tensors)
        return rows

    def forget(self) -> None:
        """Removes the file: the fit is done."""
        self.path.unlink(missing_ok=True)
