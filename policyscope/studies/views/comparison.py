"""Dictionaries side by side, and the features of the first looked for in the second.

Where both write the same site the best match is the one with nearly the same direction; elsewhere
the one that says nearly the same of the same recorded steps. Both numbers are given where known.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from policyscope.dictionaries.dictionary import Dictionary
from policyscope.errors import InvalidInput
from policyscope.features.describe import encode
from policyscope.interventions.target import reads_of
from policyscope.recordings.recording import Recording
from policyscope.scores.redundancy import CodeCorrelation
from policyscope.scores.stability import cosines
from policyscope.studies.views.features import dictionary_of
from policyscope.studies.views.overview import dictionary_page

if TYPE_CHECKING:
    from policyscope.studies.views.views import Views

MATCHED_STEPS = 8192
"""Steps, evenly over the recording, whose codes are correlated: a page waits for it."""
FOUND = 0.9


def compare(views: "Views", query: Mapping[str, str]) -> dict[str, Any]:
    """`compare?dictionaries=A,B`"""
    names = [name for name in query.get("dictionaries", "").split(",") if name]
    if len(names) < 2:
        raise InvalidInput("Comparing takes two dictionaries: compare?dictionaries=A,B")
    first, second = (dictionary_of(views, name) for name in names[:2])
    document = views.result("features", names[0], "features.json") or {"features": []}
    dead = {card["index"] for card in document["features"] if card["dead"]}
    alive = [index for index in range(len(first)) if index not in dead]
    matches = matches_of(
        alive, directions_in_common(first, second), codes_in_common(views, first, second)
    )
    again = [sureness(one) >= FOUND for one in matches]
    return {
        "rows": [dictionary_page(views, {}, name) for name in names],
        "matches": matches,
        "found_again": float(np.mean(again)) if again else None,
    }


def matches_of(
    alive: list[int],
    direction: Float[np.ndarray, "feature other"] | None,
    code: Float[np.ndarray, "feature other"] | None,
) -> list[dict[str, Any]]:
    """The best match of each living feature, the surest first; none where nothing is known."""
    by = code if direction is None else direction
    if by is None:
        return []
    best = np.abs(by).argmax(axis=1)
    matches = [
        {
            "first": index,
            "second": int(best[index]),
            "cosine": None if direction is None else float(direction[index, best[index]]),
            "correlation": None if code is None else float(code[index, best[index]]),
        }
        for index in alive
    ]
    return sorted(matches, key=sureness, reverse=True)


def sureness(match: Mapping[str, Any]) -> float:
    """What a match is judged by: the cosine where there is one, else the correlation."""
    return abs(match["correlation"] if match["cosine"] is None else match["cosine"])


def directions_in_common(
    first: Dictionary, second: Dictionary
) -> Float[np.ndarray, "feature other"] | None:
    """The cosines of what they write; None where they write different sites."""
    ours, theirs = first.directions(), second.directions()
    if first.writes != second.writes or ours.shape[1] != theirs.shape[1]:
        return None
    return cosines(ours.detach().cpu().numpy(), theirs.detach().cpu().numpy())


def codes_in_common(
    views: "Views", first: Dictionary, second: Dictionary
) -> Float[np.ndarray, "feature other"] | None:
    """The correlations of their codes over a recording of what both read, if there is one."""
    sites = [str(reads_of(one)) for one in (first, second)]
    for name in views.study.recordings():
        recording = views.study.recording(name)
        if all(site in recording.columns for site in sites) and recording.steps > 1:
            return correlation_over(recording, first, second)
    return None


def correlation_over(
    recording: Recording, first: Dictionary, second: Dictionary
) -> Float[np.ndarray, "feature other"]:
    """The correlation of every feature of one with every feature of the other."""
    every = max(1, recording.steps // MATCHED_STEPS)
    fold = CodeCorrelation()
    seen = 0
    for ours, theirs in recording.iterate(str(reads_of(first)), str(reads_of(second))):
        chosen = slice(-seen % every, None, every)
        fold.update(encode(first, ours[chosen]), encode(second, theirs[chosen]))
        seen += len(ours)
    return fold.result()
