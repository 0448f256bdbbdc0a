"""The card of a dictionary: the page that says on a hub what it is and how good it is."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from policyscope.errors import InvalidInput

PICTURES = "pictures"
"""The folder of the pictures, beside the card."""
PICTURE_NAME = re.compile(r"[\w][\w.-]*\.(svg|png|jpg|webp)", re.ASCII)
LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*")
MEANING = {
    "unexplained": "share of the variance that is lost: 0 best, 1 no better than the mean",
    "l0": "features active per step",
    "dead": "share of features that never fire",
    "density": "mean share of steps in which a feature fires",
    "duplicates": "share of living features that say what another says",
    "stability": "mean absolute cosine with the directions other seeds found",
    "return_kept": "of the agent's return with the reconstruction in its place: 1 untouched, "
    "0 ablated",
    "action_agreement": "share of states in which the agent acts the same",
    "action_distance": "between the actions, in their standard deviations",
    "kl": "of the policy, in nats",
}
"""What the scores of `score.json` mean, in the order in which they are shown."""
CIRCUMSTANCES = frozenset({"episodes", "states", "held_out", "basis", "dictionary"})
"""What `score.json` says of the measurement; these are no scores."""


@dataclass(frozen=True)
class Card:
    """What a card says besides what the header of the dictionary holds; all of it may be absent."""

    agent: str = ""
    """Whose activations these are."""
    environment: str = ""
    """What the agent plays."""
    about: str = ""
    """A paragraph of Markdown in the author's words."""
    license: str = ""
    """As hubs write it: `mit`, `apache-2.0`, …"""
    scores: Mapping[str, Any] | None = None
    """The document of `score --json`; without it the scores that the header holds."""
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    """Content by file name, as `density.svg`; shown in this order."""

    def check(self) -> None:
        """Raises InvalidInput where the card could not be shown."""
        if self.license and not LICENSE.fullmatch(self.license):
            raise InvalidInput(
                f"The license {self.license!r} is none that a hub knows. Write its identifier in "
                "small letters, as mit, apache-2.0 or cc-by-4.0; other for any other."
            )
        for name in self.pictures:
            if not PICTURE_NAME.fullmatch(name):
                raise InvalidInput(
                    f"A picture cannot be called {name!r}. Give a file name without a folder that "
                    "ends in .svg, .png, .jpg or .webp."
                )

    def text(self, header: Mapping[str, Any], repo: str) -> str:
        """The card as Markdown with its front matter.

        `header` is what `read_header` gives, `repo` the name under which the card will be found.
        """
        self.check()
        facts = header["facts"]
        name = facts.get("name") or repo
        sides = [(facts.get("reads"), facts["d_in"]), (facts.get("writes"), facts["d_out"])]
        what = "autoencoder" if sides[0] == sides[1] else "transcoder"
        tags = ["policyscope", "dictionary-learning", what, "reinforcement-learning"]
        scores = self.scores if self.scores is not None else header.get("scores") or {}
        parts = [
            front_matter({"library_name": "policyscope", "license": self.license, "tags": tags}),
            f"# {plain(name)}",
            self.about.strip(),
            f"{what.capitalize()}, fitted with policyscope to the activations of a trained agent.",
            table(("", ""), self.identity(header)),
            *score_section(scores),
            *(f"![{picture_words(file)}]({PICTURES}/{file})" for file in self.pictures),
            "## Use",
            "```python\n"
            "from policyscope.dictionaries.hub import pull\n\n"
            f"dictionary = pull({json.dumps(repo)}, {json.dumps(PurePosixPath(repo).name)})\n"
            "features = dictionary.encode(activations)\n"
            "```",
        ]
        return "\n\n".join(part for part in parts if part) + "\n"

    def identity(self, header: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """What it is, fact by fact."""
        facts = header["facts"]
        choices = ", ".join(f"{name} {value}" for name, value in header["choices"].items())
        yield "kind", f"{code(header['kind'])} ({choices})"
        for side, size in (("reads", "d_in"), ("writes", "d_out")):
            place = code(facts[side]) if facts.get(side) else "a site with no name"
            yield side, f"{place}, {facts[size]} units"
        if self.agent:
            yield "agent", self.agent
        if self.environment:
            yield "environment", self.environment
        if header.get("seed") is not None:
            yield "seed", f"{header['seed']} (of the order of the data: {header.get('data_seed')})"


def score_section(scores: Mapping[str, Any]) -> Iterator[str]:
    """The scores as a table, and what they were measured on; nothing where there are none."""
    rows = list(score_rows(scores))
    if not rows:
        return
    yield "## Scores"
    yield table(("score", "value", ""), rows)
    if scores.get("episodes"):
        where = scores.get("basis") or ("held out of the fit" if scores.get("held_out") else "")
        yield f"On {scores['episodes']} episodes{': ' + plain(where) if where else ''}."


def score_rows(scores: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The scores that are numbers or have an interval; known ones first, then the others."""
    known = [name for name in MEANING if name in scores]
    for name in [*known, *(name for name in scores if name not in MEANING)]:
        value = scores[name]
        if name in CIRCUMSTANCES:
            continue
        if (text := written(value)) is not None:
            yield spoken(name), text, MEANING.get(name, "")
        elif isinstance(value, Mapping):
            # A family of scores, as the clinearity of each event.
            for member, found in value.items():
                if (text := written(found)) is not None:
                    feature = found.get("feature") if isinstance(found, Mapping) else None
                    note = "" if feature is None else f"feature {feature}"
                    yield f"{spoken(name)}: {spoken(str(member))}", text, note


def written(value: Any) -> str | None:
    """A score as text, `0.93 [0.90, 0.95]` where it has an interval; None where it is no score."""
    if isinstance(value, Mapping):
        middle = value.get("value", value.get("accuracy"))
        if not is_number(middle):
            return None
        ends = [value.get(end) for end in ("low", "high")]
        interval = f" [{ends[0]:.4g}, {ends[1]:.4g}]" if all(map(is_number, ends)) else ""
        return f"{middle:.4g}{interval}"
    return f"{value:.4g}" if is_number(value) else None


def is_number(value: Any) -> bool:
    """Whether it is a number that was measured."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def front_matter(entries: Mapping[str, str | Sequence[str]]) -> str:
    """The YAML block that a hub indexes; empty entries are left out."""
    lines = []
    for name, value in entries.items():
        if isinstance(value, str):
            # JSON strings are YAML strings.
            lines += [f"{name}: {json.dumps(value)}"] if value else []
        else:
            lines += [f"{name}:", *(f"- {json.dumps(item)}" for item in value)]
    return "\n".join(["---", *lines, "---"])


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(plain(cell) for cell in line)} |" for line in lines)


def plain(text: str) -> str:
    """Text that stays in its line and in its cell."""
    return " ".join(str(text).split()).replace("|", "\\|")


def code(text: str) -> str:
    """The text as code."""
    return f"`{str(text).replace('`', '')}`"


def spoken(name: str) -> str:
    """A name as words."""
    return name.replace("_", " ")


def picture_words(file: str) -> str:
    """What a picture is called, from its file name."""
    return spoken(PurePosixPath(file).stem).replace("-", " ")
