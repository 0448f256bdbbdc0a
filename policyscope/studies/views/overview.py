"""The study at a glance: its network, recordings, dictionaries and experiments."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

import policyscope
from policyscope.dictionaries.file import read_curves, read_header
from policyscope.envs.action_names import describe_actions
from policyscope.errors import PolicyscopeError, UnknownName
from policyscope.studies.findings import Results, gaps

if TYPE_CHECKING:
    from policyscope.studies.views.views import Views

MANY_DEAD = 0.1
LITTLE_KEPT = 0.8
MUCH_UNEXPLAINED = 0.3


def overview(views: "Views", query: Mapping[str, str]) -> dict[str, Any]:
    """`overview`"""
    study = views.study
    return {
        "name": study.directory.name,
        "version": policyscope_version(),
        "agent": {
            "name": study.agent.name,
            "algorithm": study.agent.algorithm,
            "parameters": study.agent.parameters,
            "is_safe": study.agent.is_safe,
        },
        "environment": environment_facts(views),
        "modules": modules(views),
        "recordings": [recording_row(views, name) for name in study.recordings()],
        "dictionaries": [dictionary_row(views, name) for name in study.dictionaries()],
        "experiments": experiments(views),
        "evaluation": views.result("experiments", "evaluate.json"),
        "next": [{"why": gap.what, "command": gap.command} for gap in gaps(study, presence(views))][
            :4
        ],
    }


def presence(views: "Views") -> Results:
    """Which results the study has kept, without what they say: some are large."""
    study = views.study
    names = study.dictionaries()

    def there(room: str, file: str) -> dict[str, dict[str, Any]]:
        return {name: {} for name in names if views.has(room, name, file)}

    nudges = (study.directory / "experiments").glob("**/nudge.json")
    return Results(
        evaluation=views.result("experiments", "evaluate.json"),
        training=None,
        headers={name: {} for name in names},
        features=there("features", "features.json"),
        scores=there("features", "score.json"),
        sweeps=there("experiments", "sweep.json"),
        sizes=(),
        nudges={path.parent.name: {} for path in nudges},
    )


def policyscope_version() -> str:
    """The version of this package."""
    from importlib.metadata import version

    return version(policyscope.__name__)


def environment_facts(views: "Views") -> dict[str, Any]:
    """The environment and its actions; what cannot be made here is named all the same."""
    study = views.study

    def find() -> dict[str, Any]:
        environment = study.make_environment(1)
        try:
            actions = describe_actions(study.environment_id, environment.action_space)
            space = str(environment.observation_space)
            return {"id": study.environment_id, "observation": space, "actions": actions}
        finally:
            environment.close()

    try:
        return views.once("environment", find)
    except PolicyscopeError:
        unknown = {"kind": "discrete", "names": [], "pad": []}
        return {"id": study.environment_id, "observation": "", "actions": unknown}


def modules(views: "Views") -> list[dict[str, Any]]:
    """The tree of the network with its sites: which are recorded, which suggested."""
    study = views.study
    recorded = {site for name in study.recordings() for site in sites_of(views.recording(name))}
    try:
        found = views.once("inspection", study.inspect)
    except PolicyscopeError:
        return []
    suggested = {str(site) for site in found.suggested}
    rows = []
    for module in found.modules:
        here = [info for info in found.sites if info.site.path == module.path]
        shown = [i for i in here if str(i.site) in recorded | suggested] or here[:1]
        rows.append(
            {
                "path": module.path,
                "type": module.type,
                "depth": module.path.count(".") + bool(module.path),
                "parameters": module.parameters,
                "role": module.network,
                "sites": [
                    {
                        "address": str(info.site),
                        "shape": list(info.shape),
                        "recorded": str(info.site) in recorded,
                        "suggested": str(info.site) in suggested,
                    }
                    for info in shown
                ],
            }
        )
    return rows


def sites_of(recording: Any) -> list[str]:
    """The sites that a recording holds."""
    return [spec.name for spec in recording.header.columns if spec.kind == "site"]


def recording_row(views: "Views", name: str) -> dict[str, Any]:
    """One recording."""
    recording = views.recording(name)
    returns = [episode.total_reward for episode in recording.episodes]
    return {
        "name": name,
        "steps": recording.steps,
        "episodes": len(recording.episodes),
        "return_mean": float(np.mean(returns)) if returns else None,
        "sites": sites_of(recording),
        "metrics": [spec.name for spec in recording.header.columns if spec.kind == "metric"],
        "units": {spec.name: spec.unit for spec in recording.header.columns if spec.unit},
        "frames": len(views.frames(recording)),
    }


def dictionary_row(views: "Views", name: str) -> dict[str, Any]:
    """One dictionary with its scores, and what there is to worry about."""
    study = views.study
    path = study.directory / "dictionaries" / name
    header = views.kept(path / "dictionary.json", lambda _: read_header(path))
    score = views.result("features", name, "score.json") or {}
    notes, facts = header["notes"], header["facts"]
    kept = score.get("return_kept")
    row: dict[str, Any] = {
        "name": name,
        "kind": header["kind"],
        "choices": header["choices"],
        "reads": facts["reads"] or "",
        "writes": facts["writes"] or "",
        "width": header["choices"].get("width") or facts["d_in"],
        "recording": notes.get("recording") or "",
        "unexplained": score.get("unexplained", notes.get("unexplained")),
        "l0": score.get("l0", notes.get("l0")),
        "dead": score.get("dead", notes.get("dead")),
        "return_kept": None if not kept else {k: kept[k] for k in ("value", "low", "high")},
        "action_agreement": score.get("action_agreement"),
        "has": {
            "features": views.has("features", name, "features.json"),
            "score": bool(score),
            "sweep": views.has("experiments", name, "sweep.json"),
            "nudge": views.has("experiments", name, "nudge.json"),
        },
    }
    return {**row, "warnings": warnings(row)}


def warnings(row: Mapping[str, Any]) -> list[str]:
    """What to know before trusting a dictionary, in few words."""
    found = []
    if (row["dead"] or 0) > MANY_DEAD:
        found.append(f"{share(row['dead'])} dead")
    if (row["unexplained"] or 0) > MUCH_UNEXPLAINED:
        found.append(f"{share(row['unexplained'])} unexplained")
    kept = (row["return_kept"] or {}).get("value")
    if kept is not None and kept < LITTLE_KEPT:
        found.append(f"keeps {share(kept)} of the return")
    return found


def share(value: float) -> str:
    """A share as the pages round it: half a percent up."""
    return f"{math.floor(100 * value + 0.5)} %"


def dictionary_page(views: "Views", query: Mapping[str, str], name: str) -> dict[str, Any]:
    """`dictionary/NAME`"""
    study = views.study
    if name not in study.dictionaries():
        raise UnknownName.among("dictionary", name, study.dictionaries())
    path = study.directory / "dictionaries" / name
    curves = read_curves(path)
    score = views.result("features", name, "score.json")
    return {
        **dictionary_row(views, name),
        "score": score,
        "curves": None if curves is None else {k: v.tolist() for k, v in curves.columns().items()},
        "sizes": None,
        "seeds": study.notes(name).get("seeds") or [],
        "density": (score or {}).get("density_per_feature") or [],
    }


def experiments(views: "Views") -> list[dict[str, Any]]:
    """Everything that was tried, by its path."""
    folder = views.study.directory / "experiments"
    rows = []
    for path in sorted(folder.glob("**/*.json")):
        parts = path.relative_to(folder).with_suffix("").parts
        kind = parts[-1] if parts[-1] in ("evaluate", "sweep", "nudge") else "live"
        document = views.result("experiments", *path.relative_to(folder).parts) or {}
        rows.append(
            {
                "path": "/".join(parts),
                "kind": kind,
                "dictionary": "/".join(parts[:-1]) or None,
                "summary": summary(kind, document),
            }
        )
    return rows


def summary(kind: str, document: Mapping[str, Any]) -> str:
    """One line about a kept experiment."""
    if kind == "evaluate":
        return f"return {document['return_mean']:.1f} over {document['episodes']} episodes"
    if kind == "sweep":
        sure = sum(bool(one.get("confirmed")) for one in document["conditions"])
        return f"{len(document['conditions'])} settings, {sure} beyond luck and random directions"
    if kind == "nudge":
        found = "something helps" if document.get("found") else "nothing was shown to help"
        return f"{found}, {len(document.get('candidates', ()))} settings tried"
    return f"{document.get('steps', 0)} steps of live play"


def experiment(views: "Views", query: Mapping[str, str], path: str) -> dict[str, Any]:
    """`experiment/PATH`"""
    known = {row["path"] for row in experiments(views)}
    if path not in known:
        raise UnknownName.among("experiment", path, known)
    *folders, name = path.split("/")
    document = views.result("experiments", *folders, f"{name}.json")
    assert document is not None
    return document
