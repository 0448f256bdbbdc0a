"""Features as the pages show them: a light table of all, and everything about one."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped

from policyscope.address import Moment
from policyscope.dictionaries.dictionary import Dictionary
from policyscope.errors import UnknownName
from policyscope.features.firings import Firings, firings
from policyscope.recordings.recording import Recording

if TYPE_CHECKING:
    from policyscope.studies.views.views import Views

Document = Mapping[str, Any]
EXAMPLES = 6
SAME = 0.7
"""Cosine from which two directions are called the same feature, or opposite ones."""
TOGETHER = 0.3
"""Correlation from which two features are said to fire together."""
REDUNDANT = 0.9
GROUPS = (("max", 1.0), ("90 %", 0.9), ("50 %", 0.5), ("10 %", 0.1), ("near threshold", 0.0))


def features_document(views: "Views", name: str) -> Document:
    """What `features` found about a dictionary; UnknownName with the command that finds it."""
    study = views.study
    if name not in study.dictionaries():
        raise UnknownName.among("dictionary", name, study.dictionaries())
    found = views.result("features", name, "features.json")
    if found is None:
        raise UnknownName(
            f"Nobody has looked at the features of {name!r} yet. Run: "
            f"policyscope features {study.directory} {name}"
        )
    return found


def feature_table(views: "Views", query: Mapping[str, str], name: str) -> dict[str, Any]:
    """`features/NAME`"""
    found = features_document(views, name)
    verdicts = verdicts_of(views, name)
    return {
        "dictionary": name,
        "recording": found["recording"],
        "steps": found["steps"],
        "episodes": found["episodes"],
        "metrics": found["metrics"],
        "features": [row(views, name, card, verdicts) for card in found["features"]],
    }


def verdicts_of(views: "Views", name: str) -> dict[int, str]:
    """What a sweep showed of each feature it steered."""
    sweep = views.result("experiments", name, "sweep.json")
    found: dict[int, str] = {}
    for condition in (sweep or {}).get("conditions", ()):
        feature = condition["feature"]
        if not condition.get("confirmed"):
            found.setdefault(feature, "nothing shown")
        elif found.get(feature) != "helps":  # that one strength helps outweighs that others harm
            found[feature] = "helps" if (condition["difference"] or 0) > 0 else "harms"
    return found


def row(views: "Views", name: str, card: Document, verdicts: Mapping[int, str]) -> dict[str, Any]:
    """One feature in a table."""
    label = views.labels.called(name, card["index"], card.get("label"))
    effect = card.get("action_effect") or {}
    effects = effect.get("measured") or effect.get("direct") or []
    strongest = max(range(len(effects)), key=lambda i: abs(effects[i] or 0.0), default=None)
    return {
        "index": card["index"],
        "label": label.get("text", ""),
        "status": label.get("status", "guess"),
        "source": label.get("source", ""),
        "dead": card["dead"],
        "firing_rate": card["firing_rate"],
        "max": card["max"],
        "mean": card["mean"],
        "auroc": label.get("auroc"),
        "metric": strongest_metric(card),
        "action": None if strongest is None else {"index": strongest, "effect": effects[strongest]},
        "value_effect": effect.get("value"),
        "verdict": verdicts.get(card["index"], "not tested"),
        "thumb": card["top"][0]["moment"] if card["top"] else None,
    }


def strongest_metric(card: Document) -> dict[str, Any] | None:
    """The metric a feature goes with most, among those whose interval does not hold zero."""
    clear = [
        (metric, one)
        for metric, one in card["correlations"].items()
        if one["low"] is not None and one["high"] is not None and one["low"] * one["high"] > 0
    ]
    if not clear:
        return None
    name, one = max(clear, key=lambda pair: abs(pair[1]["r"]))
    return {"name": name, "r": one["r"], "low": one["low"], "high": one["high"]}


def feature_page(views: "Views", query: Mapping[str, str], name: str, index: str) -> dict[str, Any]:
    """`feature/NAME/INDEX`"""
    found, number = features_document(views, name), int(index)
    cards: list[Document] = found["features"]  # in the order of their indices
    if number >= len(cards):
        raise UnknownName(f"{name} has no feature {number}; it has {len(cards)}.")
    card = cards[number]
    dictionary = dictionary_of(views, name)
    recording = views.recording(found["recording"])
    fired = firings_of(views, recording, dictionary)
    sweep = views.result("experiments", name, "sweep.json") or {}
    doses = [one for one in sweep.get("conditions", ()) if one["feature"] == number]
    effect = card.get("action_effect")
    labels = views.labels.of(name, number)
    sample, _ = fired.of(number)
    episode = np.unique(at(recording, "episode", sample))
    return {
        **row(views, name, card, verdicts_of(views, name)),
        "dictionary": name,
        "address": card["address"],
        "recording": found["recording"],
        "std": card["std"],
        "histogram": card["histogram"],
        "intervals": intervals(recording, fired, number, found["metrics"]),
        "episodes_with": {
            "share": len(episode) / max(1, found["episodes"]),
            "episodes": found["episodes"],
        },
        "correlations": [
            {"name": metric, "r": one["r"], "low": one["low"], "high": one["high"]}
            for metric, one in card["correlations"].items()
        ],
        "effect": None
        if not effect
        else {
            "output": effect.get("output") or "",
            "direct": effect["direct"],
            "measured": effect["measured"],
            "low": effect["measured_low"],
            "high": effect["measured_high"],
            "states": effect["states"],
            "episodes": effect["episodes"],
            "reason": effect.get("reason", ""),
        },
        "dose": [
            {
                "alpha": one["alpha"],
                "difference": one["difference"],
                "low": one["difference_low"],
                "high": one["difference_high"],
                "p": one["p_corrected"],
                "random_low": one.get("random_low"),
                "random_high": one.get("random_high"),
                "confirmed": bool(one.get("confirmed")),
                "endings": one["endings"],
            }
            for one in doses
        ],
        "dose_episodes": sweep.get("episodes", 0),
        "neighbours": neighbours(views, dictionary, fired, number),
        "rule": rule_entry(card.get("label")),
        "labels": [asdict(label) for label in labels],
        "revision": len(labels),
    }


def rule_entry(label: Document | None) -> dict[str, Any] | None:
    """The rule label as an entry of the history."""
    if not label:
        return None
    kept = ("text", "rule", "status", "source", "precision", "recall", "auroc", "episodes", "note")
    return {**{name: label.get(name) for name in kept}, "author": "", "when": ""}


def dictionary_of(views: "Views", name: str) -> Dictionary:
    """A dictionary, loaded once."""
    path = views.study.directory / "dictionaries" / name / "dictionary.json"
    return views.kept(path.with_name("weights.safetensors"), lambda _: views.study.dictionary(name))


def firings_of(views: "Views", recording: Recording, dictionary: Dictionary) -> Firings:
    """The firings of a dictionary in a recording, mapped once."""
    place = (recording.name, dictionary.name)
    with views.holding(place):
        of, found = views.firings.get(place, (None, None))
        if found is None or of != (recording.steps, dictionary):
            found = firings(recording, dictionary)
            views.firings[place] = ((recording.steps, dictionary), found)
        return found


def at(
    recording: Recording, column: str, sample: Int[np.ndarray, " sample"]
) -> Shaped[np.ndarray, "sample ..."]:
    """One column at some samples of a recording; no more of it is read than the shards they are in.

    `sample` may be in any order.
    """
    bounds = np.cumsum([0, *(shard.samples for shard in recording.shards)])
    owner = np.searchsorted(bounds, sample, side="right") - 1
    spec = recording.spec(column)
    found = np.empty((len(sample), *spec.shape), spec.dtype)
    for number in np.unique(owner).tolist():
        here = owner == number
        found[here] = recording.read(column, number)[sample[here] - bounds[number]]
    return found


def intervals(
    recording: Recording, fired: Firings, feature: int, metrics: list[str]
) -> list[dict[str, Any]]:
    """Moments at several strengths, and some at which the feature is silent."""
    sample, value = fired.of(feature)
    order = np.argsort(value, kind="stable")
    groups: list[tuple[str, np.ndarray, np.ndarray]] = []
    for name, strength in GROUPS:
        places = order[around(len(order), strength)]
        chosen = diverse(places, at(recording, "episode", sample[places]))
        groups.append((name, sample[chosen], value[chosen]))
    draw = np.random.default_rng(feature)
    silent = np.setdiff1d(draw.integers(recording.steps, size=8 * EXAMPLES), sample)[:EXAMPLES]
    groups.append(("silent", silent, np.zeros(len(silent), np.float32)))
    every = np.concatenate([samples for _, samples, _ in groups]).astype(np.int64)
    names = [name for name in metrics if name in recording.columns]
    read = {name: at(recording, name, every).tolist() for name in ("episode", "step", *names)}
    found, first = [], 0
    for name, samples, strengths in groups:
        places = range(first, first + len(samples))
        first += len(samples)
        if not len(samples):
            continue
        found.append(
            {
                "name": name,
                "low": float(strengths.min()),
                "high": float(strengths.max()),
                "moments": [
                    {
                        "moment": str(
                            Moment(recording.name, read["episode"][place], read["step"][place])
                        ),
                        "activation": float(strength),
                        "metrics": {metric: float(read[metric][place]) for metric in names},
                    }
                    for place, strength in zip(places, strengths, strict=True)
                ],
            }
        )
    return found


def around(count: int, at: float, width: int = 200) -> slice:
    """The places near one quantile of `count` sorted values."""
    middle = round(at * (count - 1)) if count else 0
    first = min(max(0, middle - width // 2), max(0, count - width))
    return slice(first, min(count, first + width))


def diverse(
    places: Int[np.ndarray, " place"], episode: Int[np.ndarray, " place"]
) -> Int[np.ndarray, " chosen"]:
    """At most `EXAMPLES` places, of different episodes as far as there are; strongest first."""
    places, episode = places[::-1], episode[::-1]
    _, first = np.unique(episode, return_index=True)
    ranked = np.concatenate([np.sort(first), np.setdiff1d(np.arange(len(places)), first)])
    return places[np.sort(ranked[:EXAMPLES])]


def neighbours(
    views: "Views", dictionary: Dictionary, fired: Firings, feature: int
) -> list[dict[str, Any]]:
    """Features that fire together, say the same, or have nearly the same direction elsewhere."""
    found = []
    own = unit(dictionary.directions())
    for other, r in zip(
        fired.near[feature].tolist(), fired.nearness[feature].tolist(), strict=True
    ):
        if r >= TOGETHER:
            why = "redundant" if r >= REDUNDANT else "co-firing"
            cosine = float(own[feature] @ own[other])
            found.append(neighbour(views, dictionary.name, other, why, cosine, r))
    for name in views.study.dictionaries():
        other = dictionary_of(views, name)
        if name == dictionary.name or other.writes != dictionary.writes:
            continue
        cosines = unit(other.directions()) @ own[feature]
        best = int(cosines.abs().argmax())
        cosine = float(cosines[best])
        if abs(cosine) >= SAME:
            why = "same feature" if cosine > 0 else "opposite"
            found.append(neighbour(views, name, best, why, cosine, None))
    return found


def neighbour(
    views: "Views", name: str, index: int, why: str, cosine: float, r: float | None
) -> dict[str, Any]:
    """One neighbour with its label."""
    return {
        "dictionary": name,
        "index": index,
        "label": label_of(views, name, index),
        "why": why,
        "cosine": cosine,
        "correlation": r,
    }


def label_of(views: "Views", name: str, index: int) -> str:
    """What a feature is called; see `Labels.called`."""
    document = views.result("features", name, "features.json") or {"features": []}
    cards: list[Document] = document["features"]
    # Features are kept in their order.
    card = cards[index] if index < len(cards) else {}
    return views.labels.called(name, index, card.get("label")).get("text", "")


def unit(directions: Float[torch.Tensor, "feature unit"]) -> Float[torch.Tensor, "feature unit"]:
    """The directions at unit norm."""
    return directions / directions.norm(dim=1, keepdim=True).clamp(min=1e-12)
