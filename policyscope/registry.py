"""Names for implementations: built-ins register on import, third parties by entry point."""

from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar, cast

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
