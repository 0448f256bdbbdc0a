"""Names for implementations: ours register on import, others come by entry point or module:name."""

import importlib
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from policyscope.errors import InvalidInput, UnknownName

T = TypeVar("T")
Implementation = TypeVar("Implementation")


class Registry(Generic[T]):
    """Maps a name to an implementation of one kind, such as a dictionary or an agent scheme.

    `group` is the entry-point group through which other packages add theirs; an entry point is
    imported only when its name is asked for.
    """

    def __init__(self, kind: str, group: str) -> None:
        self.kind = kind
        self.group = group
        self._known: dict[str, T] = {}

    def register(self, name: str) -> Callable[[Implementation], Implementation]:
        """A decorator that registers what it decorates as `name`."""

        def add(implementation: Implementation) -> Implementation:
            mine = cast(T, implementation)
            if self._known.get(name, mine) is not mine:
                raise InvalidInput(f"Two implementations want to be the {self.kind} {name!r}.")
            self._known[name] = mine
            return implementation

        return add

    def get(self, name: str) -> T:
        """The implementation called `name`; UnknownName with a suggestion when there is none."""
        if name not in self._known:
            point = self._entry_points().get(name)
            if point is None:
                raise UnknownName.among(self.kind, name, self.names())
            self._known[name] = point.load()
        return self._known[name]

    def names(self) -> list[str]:
        """Every name that `get` accepts, sorted."""
        return sorted({*self._known, *self._entry_points()})

    def _entry_points(self) -> Mapping[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self.group)}


def make_importable(folder: Path | None = None) -> None:
    """Puts `folder`, by default the current one, on the import path: a command has it not."""
    place = str(folder or Path.cwd())
    if place not in sys.path:
        sys.path.insert(0, place)


def import_named(kind: str, spec: str, folder: Path | None = None, otherwise: str = "") -> Any:
    """What `module:name` names, where `folder` (by default the current one) is importable too.

    Raises UnknownName, or InvalidInput where it cannot be a module; both end with `otherwise`.
    """
    module_name, _, name = spec.partition(":")
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise InvalidInput(
            f"{spec!r} names no {kind}. Write module:name, with the module as one would import it: "
            f"dots for folders, no .py. {otherwise}".rstrip()
        )
    make_importable(folder)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # Something that the module itself imports is missing.
        message = f"No {kind} {spec!r}: there is no module {module_name!r}. {otherwise}"
        raise UnknownName(message.rstrip()) from error
    public = [known for known in vars(module) if not known.startswith("_")]
    if not hasattr(module, name):
        raise UnknownName.among(f"name in module {module_name!r}", name, public)
    return getattr(module, name)
