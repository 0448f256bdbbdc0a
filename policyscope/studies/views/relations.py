"""What goes with what: features with metrics."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from policyscope.address import Moment
from policyscope.errors import UnknownName
from policyscope.studies.views.features import (
    at,
    dictionary_of,
    features_document,
    firings_of,
)

if TYPE_CHECKING:
    from policyscope.studies.views.views import Views

MOST_DOTS = 1500
MOST_ROWS = 600


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
    # Here, because it takes long to import and one page needs it.
    import scipy.cluster.hierarchy

    tree = scipy.cluster.hierarchy.linkage(
        np.nan_to_num(rows), method="average", optimal_ordering=len(rows) <= 200
    )
    return scipy.cluster.hierarchy.leaves_list(tree).tolist()


def scatter(
    views: "Views", query: Mapping[str, str], name: str, index: str, metric: str
) -> dict[str, Any]:
    """`scatter/NAME/INDEX/METRIC`: steps drawn evenly from the recording."""
    found, feature = features_document(views, name), int(index)
    recording = views.recording(found["recording"])
    if metric not in found["metrics"]:
        raise UnknownName.among("metric", metric, found["metrics"])
    dictionary = dictionary_of(views, name)
    fired = firings_of(views, recording, dictionary)
    sample, value = fired.of(dictionary[feature].index)
    every = np.zeros(recording.steps, np.float32)
    every[sample] = value
    drawn = np.unique(np.linspace(0, recording.steps - 1, MOST_DOTS).astype(int))
    x = at(recording, metric, drawn).astype(float)
    episode, step = (at(recording, part, drawn) for part in ("episode", "step"))
    known = np.isfinite(x)
    card = found["features"][feature]
    return {
        "x": x[known],
        "y": every[drawn][known],
        "moments": [
            str(Moment(recording.name, int(e), int(s)))
            for e, s in zip(episode[known], step[known], strict=True)
        ],
        "r": (card["correlations"].get(metric) or {}).get("r"),
    }
