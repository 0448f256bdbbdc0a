"""The study at a glance: its network, recordings, dictionaries and experiments."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

import policyscope
from policyscope.dictionaries.file import read_curves, read_header
from policyscope.envs.action_names import describe_actions
from policyscope.errors import PolicyscopeError, UnknownName
from policyscope.recordings.frames import Frames
from policyscope.studies.findings import gaps
from policyscope.studies.sections import read_results

if TYPE_CHECKING:
    from policyscope.studies.views.views import Views

MANY_DEAD = 0.1
LITTLE_KEPT = 0.8
MUCH_UNEXPLAINED = 0.3


def overview(views: "Views", query: Mapping[str, str]) -> dict[str, Any]:
    """`overview`"""
    study = views.study
    results = read_results(study)
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
        "next": [{"why": gap.what, "command": gap.command} for gap in gaps(study, results)][:4],
    }


def policyscope_version() -> str:
    """The version of this package."""
    from importlib.metadata import version

    return version(policyscope.__name__)


def environment_facts(views: "Views") -> dict[str, Any]:
    """The environment and its actions; what cannot be made here is named all the same."""
    found = views.__dict__.get("_environment")
    if found is None:
        study = views.study
        found = {
            "id": study.environment_id,
            "observation": "",
            "actions": {"kind": "discrete", "names": [], "pad": []},
        }
        try:
            environment = study.make_environment(1)
        except PolicyscopeError:
            return found
        try:
            found["observation"] = str(environment.observation_space)
            found["actions"] = describe_actions(study.environment_id, environment.action_space)
        finally:
            environment.close()
        views.__dict__["_environment"] = found
    return found


def modules(views: "Views") -> list[dict[str, Any]]:
    """The tree of the network with its sites: which are recorded, which suggested."""
    study = views.study
    recorded = {site for name in study.recordings() for site in sites_of(study.recording(name))}
    found = views.__dict__.get("_inspection")
    if found is None:
        try:
            found = study.inspect()
        except PolicyscopeError:
            return []
        views.__dict__["_inspection"] = found
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
    recording = views.study.recording(name)
    returns = [episode.total_reward for episode in recording.episodes]
    return {
        "name": name,
        "steps": recording.steps,
        "episodes": len(recording.episodes),
        "return_mean": float(np.mean(returns)) if returns else None,
        "sites": sites_of(recording),
        "metrics": [spec.name for spec in recording.header.columns if spec.kind == "metric"],
        "frames": len(Frames.open(recording.directory)),
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
            "features": views.result("features", name, "features.json") is not None,
            "score": bool(score),
            "sweep": (study.directory / "experiments" / name / "sweep.json").exists(),
            "nudge": (study.directory / "experiments" / name / "nudge.json").exists(),
        },
    }
    return {**row, "warnings": warnings(row)}


def warnings(row: Mapping[str, Any]) -> list[str]:
    """What to know before trusting a dictionary, in few words."""
    found = []
    if (row["dead"] or 0) > MANY_DEAD:
        found.append(f"{row['dead']:.0%} dead")
    if (row["unexplained"] or 0) > MUCH_UNEXPLAINED:
        found.append(f"{row['unexplained']:.0%} unexplained")
    kept = (row["return_kept"] or {}).get("value")
    if kept is not None and kept < LITTLE_KEPT:
        found.append(f"keeps {kept:.0%} of the return")
    return found


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
