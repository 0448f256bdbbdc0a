"""Episodes: what happened step by step, and the frames of it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float

from policyscope.address import FeatureAddress
from policyscope.dictionaries.dictionary import Dictionary
from policyscope.envs.event import events_of
from policyscope.errors import InvalidInput, UnknownName
from policyscope.features.describe import encode
from policyscope.recordings.frames import Frames, Sheet
from policyscope.recordings.recording import Recording
from policyscope.studies.views.features import dictionary_of, label_of
from policyscope.studies.views.overview import environment_facts

if TYPE_CHECKING:
    from policyscope.studies.views.views import Views

MOST_WINDOW = 24
LIKELIHOODS = ("logits",)


def episode_table(views: "Views", query: Mapping[str, str], name: str) -> dict[str, Any]:
    """`episodes/RECORDING`"""
    recording = views.recording(name)
    numbers, counts = np.unique(np.asarray(recording.read("episode")), return_counts=True)
    frames = views.frames(recording)
    pictured = {number: len(frames.steps(number)) for number in frames.episodes()}
    known = {episode.index: episode for episode in recording.episodes}
    rows = []
    for number, steps in zip(numbers.tolist(), counts.tolist(), strict=True):
        one = known.get(number)
        rows.append(
            {
                "index": number,
                "seed": one.seed if one else 0,
                "length": one.length if one else steps,
                "return": one.total_reward if one else 0.0,
                "ending": one.ending if one else "",
                "ended": one is not None,
                "frames": pictured.get(number, 0),
            }
        )
    return {"recording": name, "episodes": rows}


def episode_page(views: "Views", query: Mapping[str, str], name: str, index: str) -> dict[str, Any]:
    """`episode/RECORDING/INDEX?features=A#1,B#2`"""
    recording, number = views.recording(name), int(index)
    past = recording.episode(number, (*small_columns(recording), "step"))
    lanes, groups = lanes_of(recording, past)
    one = next((e for e in recording.episodes if e.index == number), None)
    length = len(past["step"])
    metrics = {key: past[key] for key in groups.get("metrics", [])}
    return {
        "recording": name,
        "index": number,
        "seed": one.seed if one else 0,
        "length": length,
        "return": one.total_reward if one else float(np.sum(past["reward"])),
        "ending": one.ending if one else "not ended",
        "actions": environment_facts(views)["actions"],
        "lanes": {key: rounded(values) for key, values in lanes.items()},
        "groups": [{"name": key, "lanes": names} for key, names in groups.items() if names],
        "events": events(views, metrics),
        "features": pinned(views, recording, number, query.get("features", "")),
        "clip": clip(views.frames(recording), name, number, 0, length),
    }


def small_columns(recording: Recording) -> tuple[str, ...]:
    """The columns that are a few numbers per step."""
    kinds = ("action", "output", "reward", "metric")
    return tuple(
        spec.name
        for spec in recording.header.columns
        if spec.kind in kinds and int(np.prod(spec.shape, initial=1)) <= 64
    )


def lanes_of(
    recording: Recording, past: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
    """One lane per number of a step, and the lanes in groups."""
    lanes: dict[str, np.ndarray] = {"reward": past["reward"]}
    lanes["return so far"] = np.cumsum(past["reward"])
    groups: dict[str, list[str]] = {"reward": ["reward", "return so far"], "thought": []}
    groups |= {"action": [], "metrics": []}
    for spec in recording.header.columns:
        values = past.get(spec.name)
        if values is None or spec.kind == "reward":
            continue
        if spec.kind == "metric":
            lanes[spec.name] = values
            groups["metrics"].append(spec.name)
        elif spec.kind == "action":
            for part, column in enumerate(np.atleast_2d(values.reshape(len(values), -1).T)):
                key = "action" if values.ndim == 1 else f"action[{part}]"
                lanes[key] = column
                groups["action"].append(key)
        elif spec.name == "value" or (spec.name == "values" and values.ndim == 2):
            lanes["value"] = values if values.ndim == 1 else values.max(1)
            groups["thought"].append("value")
        elif spec.name in LIKELIHOODS and values.ndim == 2 and values.shape[1] > 1:
            lanes["entropy"] = entropy(values)
            groups["thought"].append("entropy")
    return lanes, groups


def entropy(logits: Float[np.ndarray, "step action"]) -> Float[np.ndarray, " step"]:
    """The entropy of a softmax policy, in nats."""
    p = torch.from_numpy(np.array(logits, np.float32)).log_softmax(-1)
    return -(p.exp() * p).sum(-1).numpy()


def events(views: "Views", metrics: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """When the environment's named events lasted, as [first, last] steps."""
    found = []
    for event in events_of(views.study.environment_id, metrics):
        happening = np.asarray(event.happens(metrics), bool)
        if happening.any():
            found.append({"name": event.name, "steps": spans(happening)})
    return found


def spans(happening: Bool[np.ndarray, " step"]) -> list[list[int]]:
    """The first and last step of every stretch in which something is so."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], happening, [False]]).astype(np.int8)))
    return [[int(a), int(b) - 1] for a, b in zip(edges[::2], edges[1::2], strict=True)]


def rounded(values: np.ndarray) -> list[Any]:
    """The values with as many digits as a lane can show."""
    if values.dtype.kind in "ib":
        return values.astype(int).tolist()
    return [float(f"{value:.5g}") for value in values.astype(float)]


def pinned(
    views: "Views", recording: Recording, episode: int, asked: str
) -> dict[str, list[float]]:
    """The codes of the features asked for over one episode, by address."""
    found: dict[str, list[float]] = {}
    codes: dict[str, np.ndarray] = {}
    for text in filter(None, asked.split(",")):
        address = FeatureAddress.parse(text)
        dictionary = dictionary_of(views, address.dictionary)
        if address.dictionary not in codes:
            codes[address.dictionary] = codes_of(recording, dictionary, episode)
        found[text] = rounded(codes[address.dictionary][:, dictionary[address.index].index])
    return found


def codes_of(
    recording: Recording, dictionary: Dictionary, episode: int
) -> Float[np.ndarray, "step feature"]:
    """One episode as features."""
    site = str(dictionary.reads)
    if site not in recording.columns:
        raise UnknownName(f"Recording {recording.name!r} has not kept '{site}'.")
    return encode(dictionary, recording.episode(episode, (site,))[site])


def clip_of(
    views: "Views", query: Mapping[str, str], name: str, index: str
) -> dict[str, Any] | None:
    """`clip/RECORDING/EPISODE?from=A&to=B`"""
    recording = views.recording(name)
    first, last = whole(query, "from", 0), whole(query, "to", 2**31)
    return clip(views.frames(recording), name, int(index), first, last)


def clip(frames: Frames, name: str, episode: int, first: int, last: int) -> dict[str, Any] | None:
    """Where the frames of some steps of an episode are; None where there are none."""
    sheets = sorted((s for s in frames.sheets if s.episode == episode), key=lambda s: s.steps[0])
    kept = [s for s in sheets if s.steps[-1] >= first and s.steps[0] <= last]
    kept = [s for s in kept if (s.height, s.width) == (kept[0].height, kept[0].width)]
    if not kept:
        return None
    steps: list[int] = []
    rows = []
    for one in kept:
        rows.append(sheet_row(one, name, len(steps)))
        steps += one.steps
    return {"width": kept[0].width, "height": kept[0].height, "steps": steps, "sheets": rows}


def sheet_row(one: Sheet, name: str, first: int) -> dict[str, Any]:
    """Where one sheet is, and which frames of the clip it holds."""
    return {
        "path": f"sheet/{name}/{one.picture}",
        "first": first,
        "count": len(one.steps),
        "columns": one.columns,
    }


def sheet(views: "Views", query: Mapping[str, str], name: str, file: str) -> Any:
    """`sheet/RECORDING/FILE`: a WebP picture."""
    from policyscope.studies.views.views import Blob

    frames = views.frames(views.recording(name))
    if file not in {one.picture for one in frames.sheets}:
        raise UnknownName(f"Recording {name!r} has no sheet {file!r}.")
    return Blob((frames.directory / file).read_bytes(), "image/webp")


def window(views: "Views", query: Mapping[str, str], name: str, index: str) -> dict[str, Any]:
    """`window/RECORDING/EPISODE?dictionary=NAME&from=A&to=B`"""
    recording = views.recording(name)
    dictionary = dictionary_of(views, query.get("dictionary", ""))
    codes = codes_of(recording, dictionary, int(index))
    first, last = whole(query, "from", 0), whole(query, "to", len(codes) - 1)
    inside = np.zeros(len(codes), bool)
    inside[first : last + 1] = True
    if not inside.any() or inside.all():
        raise InvalidInput(f"Steps {first} to {last} are not a part of {len(codes)} steps.")
    means = codes[inside].mean(0), codes[~inside].mean(0)
    deviation = codes.std(0)
    score = np.divide(
        means[0] - means[1], deviation, out=np.zeros_like(deviation), where=deviation > 0
    )
    best = np.argsort(-np.abs(score), kind="stable")[:MOST_WINDOW]
    return {
        "steps": int(inside.sum()),
        "features": [
            {
                "index": feature,
                "label": label_of(views, dictionary.name, feature),
                "inside": float(means[0][feature]),
                "outside": float(means[1][feature]),
                "score": float(score[feature]),
            }
            for feature in best.tolist()
            if deviation[feature] > 0
        ],
    }


def whole(query: Mapping[str, str], name: str, default: int) -> int:
    """A number of the query."""
    text = query.get(name)
    if text is None:
        return default
    if not text.isdecimal():
        raise InvalidInput(f"{name} is {text!r}; expected a step.")
    return int(text)
