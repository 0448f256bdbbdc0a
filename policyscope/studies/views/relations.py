"""What goes with what: features with metrics, and dictionaries with each other."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.cluster.hierarchy
from jaxtyping import Float

from policyscope.address import Moment
from policyscope.errors import InvalidInput, UnknownName
from policyscope.studies.views.features import (
    dictionary_of,
    features_document,
    firings_of,
    unit,
)
from policyscope.studies.views.overview import dictionary_page

if TYPE_CHECKING:
    from policyscope.studies.views.views import Views

MOST_DOTS = 1500
MOST_ROWS = 600
FOUND = 0.9


def correlations(views: "Views", query: Mapping[str, str], name: str) -> dict[str, Any]:
    """`correlations/NAME`; of more features than can be looked at, those that go with most."""
    found = features_document(views, name)
    metrics = list(found["metrics"])
    cards = [card for card in found["features"] if not card["dead"] and card["correlations"]]

    def column(card: Mapping[str, Any], part: str) -> list[float]:
        values = (card["correlations"].get(metric, {}).get(part) for metric in metrics)
        return [np.nan if value is None else value for value in values]

    cards.sort(key=lambda card: -np.nanmax(np.abs([0.0, *column(card, "r")])))
    cards = cards[:MOST_ROWS]
    r, low, high = (
        np.array([column(card, part) for card in cards]).reshape(len(cards), len(metrics))
        for part in ("r", "low", "high")
    )
    rows, columns = alike(r), alike(r.T)
    return {
        "dictionary": name,
        "recording": found["recording"],
        "episodes": found["episodes"],
        "metrics": [metrics[index] for index in columns],
        "features": [
            {
                "index": cards[index]["index"],
                "label": (cards[index].get("label") or {}).get("text", ""),
            }
            for index in rows
        ],
        "r": r[np.ix_(rows, columns)],
        "low": low[np.ix_(rows, columns)],
        "high": high[np.ix_(rows, columns)],
    }


def alike(rows: Float[np.ndarray, "row column"]) -> list[int]:
    """An order of the rows in which alike ones are neighbours (average linkage)."""
    if len(rows) < 3 or not rows.shape[1]:
        return list(range(len(rows)))
    tree = scipy.cluster.hierarchy.linkage(
        np.nan_to_num(rows), method="average", optimal_ordering=len(rows) <= 200
    )
    return scipy.cluster.hierarchy.leaves_list(tree).tolist()


def scatter(
    views: "Views", query: Mapping[str, str], name: str, index: str, metric: str
) -> dict[str, Any]:
    """`scatter/NAME/INDEX/METRIC`: steps drawn evenly from the recording."""
    found, feature = features_document(views, name), int(index)
    recording = views.study.recording(found["recording"])
    if metric not in found["metrics"]:
        raise UnknownName.among("metric", metric, found["metrics"])
    dictionary = dictionary_of(views, name)
    fired = firings_of(views, recording, dictionary)
    sample, value = fired.of(dictionary[feature].index)
    every = np.zeros(recording.steps, np.float32)
    every[sample] = value
    drawn = np.unique(np.linspace(0, recording.steps - 1, MOST_DOTS).astype(int))
    x = np.asarray(recording.read(metric), float)[drawn]
    episode, step = (np.asarray(recording.read(part))[drawn] for part in ("episode", "step"))
    known = np.isfinite(x)
    card = next(one for one in found["features"] if one["index"] == feature)
    return {
        "x": x[known],
        "y": every[drawn][known],
        "moments": [
            str(Moment(recording.name, int(e), int(s)))
            for e, s in zip(episode[known], step[known], strict=True)
        ],
        "r": (card["correlations"].get(metric) or {}).get("r"),
    }


def compare(views: "Views", query: Mapping[str, str]) -> dict[str, Any]:
    """`compare?dictionaries=A,B`"""
    names = [name for name in query.get("dictionaries", "").split(",") if name]
    if len(names) < 2:
        raise InvalidInput("Comparing takes two dictionaries: compare?dictionaries=A,B")
    first, second = (dictionary_of(views, name) for name in names[:2])
    matches: list[dict[str, Any]] = []
    if first.writes == second.writes:
        cosines = unit(first.directions()) @ unit(second.directions()).T
        best = cosines.abs().argmax(1)
        document = views.result("features", names[0], "features.json") or {"features": []}
        dead = {card["index"] for card in document["features"] if card["dead"]}
        matches = [
            {
                "first": index,
                "second": int(best[index]),
                "cosine": float(cosines[index, best[index]]),
                "correlation": None,
            }
            for index in range(len(first))
            if index not in dead
        ]
        matches.sort(key=lambda one: -abs(one["cosine"]))
    again = [abs(one["cosine"]) >= FOUND for one in matches]
    return {
        "rows": [dictionary_page(views, {}, name) for name in names],
        "matches": matches,
        "found_again": float(np.mean(again)) if again else None,
    }
