"""What a study keeps, by name, and the right to write it: one writer of a thing, any readers.

study/
  study.json                   the agent, the environment, versions
  agent/                       copies of the agent's files, where it came from files
  recordings/<name>/           what happened
  dictionaries/<name>/         what it is made of
  features/<dictionary>/       features.json, score.json
  experiments/…                evaluate.json, <dictionary>/sweep.json, <dictionary>/nudge.json
  reports/                     one HTML file each
  fits/<dictionary>/           how far a fit is, while it runs
  locks/                       held by whoever writes one of these
"""

import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from policyscope.address import Moment
from policyscope.dictionaries.dictionary import Dictionary
from policyscope.dictionaries.file import load, read_header
from policyscope.document import read_document, write_document
from policyscope.errors import DiskFull, InvalidInput, PolicyscopeError, UnknownName
from policyscope.recordings.lock import WriterLock
from policyscope.recordings.recording import Recording

RESULTS = {
    "features": ("features.json", "score.json"),
    "experiments": ("sweep.json", "nudge.json"),
}
"""What is kept about one dictionary."""


class Store:
    """The directory of a study, and everything in it by name."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    # --- what there is -----------------------------------------------------------------------

    def recordings(self) -> list[str]:
        """The names of the recordings."""
        return names_below(self.directory / "recordings", "recording.json")

    def recording(self, name: str | None = None) -> Recording:
        """A recording by name; without a name the only one, or the one called `main`."""
        known = self.recordings()
        if name is None:
            name = known[0] if len(known) == 1 else "main"
        if name not in known:
            raise UnknownName.among("recording", name, known)
        found = Recording.open(self.directory / "recordings" / name)
        found.name = name  # with the folders it lies in, as addresses of its moments have it
        return found

    def dictionaries(self) -> list[str]:
        """The names of the dictionaries."""
        return names_below(self.directory / "dictionaries", "dictionary.json")

    def dictionary(self, name: str | Dictionary) -> Dictionary:
        """A dictionary by name."""
        if isinstance(name, Dictionary):
            return name
        if name not in self.dictionaries():
            raise UnknownName.among("dictionary", name, self.dictionaries())
        found = load(self.directory / "dictionaries" / name)
        # Its place says what it is called; a header from elsewhere may say anything.
        found.name = name
        return found

    def notes(self, name: str) -> dict[str, Any]:
        """What the fit of a dictionary wrote down: its seeds, held-out episodes and recording."""
        return read_header(self.directory / "dictionaries" / name)["notes"]

    def moment(self, address: str | Moment) -> dict[str, Float[Tensor, "..."]]:
        """Every column of one recorded moment, such as `main/ep3@40`; for patching."""
        where = Moment.parse(address) if isinstance(address, str) else address
        row = self.recording(where.recording).moment(where)
        return {name: torch.as_tensor(np.array(value)) for name, value in row.items()}

    def result(self, *parts: str) -> dict[str, Any] | None:
        """A kept result, as `result("features", "layer1/k4", "score.json")`; None if absent."""
        path = self.directory.joinpath(*parts)
        return read_document(path) if path.exists() else None

    def top_moments(self, dictionary: str) -> list[Moment]:
        """The moments at which the features of a dictionary fire most, as `features` found them."""
        name = self.dictionary(dictionary).name
        known = self.result("features", name, "features.json")
        if known is None:
            raise InvalidInput(
                f"Nobody has looked at the features of {name!r} yet. Run: "
                f"policyscope features {self.directory} {name}"
            )
        found = {top["moment"] for card in known["features"] for top in card["top"]}
        return sorted(map(Moment.parse, found))

    # --- writing -----------------------------------------------------------------------------

    def forget(self, dictionary: str) -> None:
        """Removes what was found about a dictionary of this name that is there no more."""
        for part, names in RESULTS.items():
            for name in names:
                (self.directory / part / dictionary / name).unlink(missing_ok=True)

    def keep(self, document: Mapping[str, Any], *parts: str) -> None:
        """Keeps a result as a JSON file below the study."""
        with self.keeping(*parts) as keep:
            keep(document)

    @contextmanager
    def keeping(self, *parts: str) -> Iterator[Callable[[Mapping[str, Any]], None]]:
        """Gives what keeps a result as a JSON file below the study, and the right to do so."""
        with self.writing("result", ["/".join(parts).removesuffix(".json")]):
            yield lambda document: write_document(self.directory.joinpath(*parts), document)

    @contextmanager
    def writing(self, kind: str, names: Sequence[str]) -> Iterator[None]:
        """Holds the right to write these, before the work that makes them.

        InUse, naming the process, when another one does; InvalidInput in a read-only study.
        """
        held: list[WriterLock] = []
        try:
            for name in names:
                held.append(self.lock(kind, name))
            yield
        finally:
            for lock in held:
                lock.release()

    def lock(self, kind: str, name: str) -> WriterLock:
        """The lock of one thing below the study."""
        folder = self.directory / "locks" / kind / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return WriterLock(folder, what=f"{kind} {name!r} of study")
        except PolicyscopeError:
            raise
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFull(f"No room in {self.directory}. What it holds stays.") from error
            raise InvalidInput(
                f"Cannot write {kind} {name!r} in {self.directory}: {error.strerror}."
            ) from error


def names_below(folder: Path, header: str) -> list[str]:
    """The names of everything below `folder` that has a header file, parts joined by '/'."""
    found = (path.parent.relative_to(folder) for path in folder.glob(f"**/{header}"))
    # What begins with a dot is being written, or was when its writer was killed.
    return sorted(p.as_posix() for p in found if not any(part[0] == "." for part in p.parts))
