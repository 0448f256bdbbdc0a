"""The one grammar in which everything inside an agent is named.

    site      path[call][:in|:out][.i]     fc2:in   lstm:out.0   core[1]:out
    unit      site#unit                    conv3:out#95
    cell      site#unit[y,x]               conv3:out#95[4,7]
    feature   dictionary#index             layer2/topk256#17
    moment    recording/ep<episode>@<step> main/ep12@340

`path` is the dotted module path of torch; the empty path, written `.`, is the whole module.
`:out` is the default side. A module that returns (or takes) several tensors has them counted
`.0`, `.1`, … in the order they lie in the nested tuple. A module called several times in one
step is told apart by `[call]`. Library, command line, files and the studio share this grammar,
so parse and print are inverses.
"""

import re
from dataclasses import dataclass
from typing import Literal, cast

from policyscope.errors import InvalidInput

Side = Literal["in", "out"]

NAME = re.compile(r"[\w-][\w.+-]*(/[\w-][\w.+-]*)*")
SITE = re.compile(
    r"(?P<path>\.|[^:#\[\]@\s]+)(\[(?P<call>\d+)\])?(:(?P<side>in|out)(\.(?P<index>\d+))?)?"
)
UNIT = re.compile(r"(?P<site>[^#]+)#(?P<unit>\d+)(\[(?P<y>\d+),(?P<x>\d+)\])?")
FEATURE = re.compile(r"(?P<dictionary>[^#]+)#(?P<index>\d+)")
MOMENT = re.compile(r"(?P<recording>.+)/ep(?P<episode>\d+)@(?P<step>\d+)")


@dataclass(frozen=True)
class Site:
    """Where in a network an activation is read or written."""

    path: str
    side: Side = "out"
    index: int | None = None
    call: int | None = None

    @classmethod
    def parse(cls, text: "str | Site") -> "Site":
        """The site that `text` names; a Site passes through unchanged."""
        if isinstance(text, Site):
            return text
        match = SITE.fullmatch(text)
        if match is None:
            raise InvalidInput(
                f"{text!r} is not a site. Write path[:in|:out][.i], "
                "for example fc2:in, lstm:out.0 or core[1]:out."
            )
        return cls(
            path="" if match["path"] == "." else match["path"],
            side=cast(Side, match["side"] or "out"),
            index=None if match["index"] is None else int(match["index"]),
            call=None if match["call"] is None else int(match["call"]),
        )

    def __str__(self) -> str:
        call = "" if self.call is None else f"[{self.call}]"
        index = "" if self.index is None else f".{self.index}"
        return f"{self.path or '.'}{call}:{self.side}{index}"


@dataclass(frozen=True)
class UnitAddress:
    """One unit (channel) of a site, or one cell of its map when `position` (y, x) is given."""

    site: Site
    unit: int
    position: tuple[int, int] | None = None

    @classmethod
    def parse(cls, text: str) -> "UnitAddress":
        """The unit or cell that `text` names."""
        match = UNIT.fullmatch(text)
        if match is None:
            raise InvalidInput(f"{text!r} is not a unit. Write site#unit or site#unit[y,x].")
        position = None if match["y"] is None else (int(match["y"]), int(match["x"]))
        return cls(Site.parse(match["site"]), int(match["unit"]), position)

    def __str__(self) -> str:
        cell = "" if self.position is None else f"[{self.position[0]},{self.position[1]}]"
        return f"{self.site}#{self.unit}{cell}"


@dataclass(frozen=True, order=True)
class FeatureAddress:
    """One feature of a dictionary."""

    dictionary: str
    index: int

    @classmethod
    def parse(cls, text: str) -> "FeatureAddress":
        """The feature that `text` names."""
        match = FEATURE.fullmatch(text)
        if match is None:
            raise InvalidInput(
                f"{text!r} is not a feature. Write dictionary#index, as layer2/k4#2."
            )
        return cls(check_name("dictionary", match["dictionary"]), int(match["index"]))

    def __str__(self) -> str:
        return f"{self.dictionary}#{self.index}"


@dataclass(frozen=True, order=True)
class Moment:
    """One step of one recorded episode."""

    recording: str
    episode: int
    step: int

    @classmethod
    def parse(cls, text: str) -> "Moment":
        """The moment that `text` names."""
        match = MOMENT.fullmatch(text)
        if match is None:
            raise InvalidInput(
                f"{text!r} is not a moment. Write recording/ep<episode>@<step>, as main/ep12@340."
            )
        recording = check_name("recording", match["recording"])
        return cls(recording, int(match["episode"]), int(match["step"]))

    def __str__(self) -> str:
        return f"{self.recording}/ep{self.episode}@{self.step}"


def check_name(kind: str, name: str) -> str:
    """`name` itself, if it can name a dictionary, recording or experiment on disk and in a URL."""
    if not NAME.fullmatch(name):
        raise InvalidInput(
            f"{name!r} cannot name a {kind}. Use letters, digits, '_', '-', '+' and '.', "
            "with '/' between parts, as layer2/topk256."
        )
    return name
