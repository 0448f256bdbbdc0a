"""The benchmark: every kind of dictionary fitted and scored on every agent, at one sparsity.

Each agent becomes a study below the benchmark's folder. Its last hidden layer is recorded once; all
kinds are fitted there as autoencoders of one width and, where the kind lets one choose, with the
same number of active features, and scored on the same held-out episodes and the same seeds. The
score of a cell is kept as soon as it is known, so that a stopped run goes on where it was; nothing
random is left to the clock, so that the same run gives the same table.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast

from policyscope.address import Site
from policyscope.bench.subject import Subject
from policyscope.dictionaries.dictionary import DICTIONARIES, Dictionary
from policyscope.dictionaries.fit import CALIBRATION_STEPS
from policyscope.dictionaries.spectrum import Spectrum
from policyscope.document import read_document, write_document
from policyscope.errors import InvalidInput, PolicyscopeError, UnknownName
from policyscope.progress import track
from policyscope.recordings.recording import Recording
from policyscope.studies.fitting import Samples, gather
from policyscope.studies.manifest import MANIFEST
from policyscope.studies.study import Study
from policyscope.table import Column, Shown, Table

QUICK_AGENTS = 3
"""Of a folder, in quick mode."""
NOT_AUTOENCODERS = ("skip", "cross-layer")
"""Kinds that have nothing to do where they read and write the same site."""
BASELINES = ("raw", "pca", "ica", "nmf", "random")
RECORDING = "bench"
RESULTS = "bench.json"


@dataclass(frozen=True)
class Amounts:
    """How much of everything; all of it is in the results."""

    steps: int = 20_000
    """Recorded of each agent."""
    expansion: int = 2
    """Width of the dictionaries, in units of the site."""
    most_width: int = 1024
    k: int = 16
    """Active features per step where a kind lets one choose; at most a quarter of the units."""
    seeds: int = 2
    updates: int = 2000
    """Steps of Adam, about."""
    episodes: int = 20
    """Played with each reconstruction spliced in."""

    def quick(self) -> "Amounts":
        """Enough to see that it works, and which kinds are far apart."""
        return Amounts(steps=4_000, most_width=256, k=8, seeds=1, updates=400, episodes=5)


@dataclass(frozen=True)
class Cell:
    """One kind on one agent: its scores, or why there are none."""

    subject: str
    kind: str
    scores: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""

    @property
    def is_baseline(self) -> bool:
        """Whether it is one of the plain methods that sparse kinds are to beat."""
        return self.kind in BASELINES


@dataclass(frozen=True)
class Bench(Shown):
    """All cells, agent by agent."""

    cells: tuple[Cell, ...]
    sites: Mapping[str, str]
    amounts: Mapping[str, int]
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Agents that could not be run here, and why."""

    def table(self) -> Table:
        """One row per cell."""
        columns = (
            Column("agent", side="left"),
            Column("kind", side="left"),
            Column("unexplained", ".4f"),
            Column("L0", ".1f"),
            Column("dead", ".0%"),
            Column("same action", ".1%"),
            Column("return kept", side="right"),
            Column("", side="left"),
        )
        rows = tuple(
            (
                cell.subject,
                cell.kind,
                cell.scores.get("unexplained"),
                cell.scores.get("l0"),
                cell.scores.get("dead"),
                cell.scores.get("action_agreement"),
                kept_words(cell.scores.get("return_kept")),
                cell.reason or ("baseline" if cell.is_baseline else ""),
            )
            for cell in self.cells
        )
        left = " ".join(f"{name} was left out: {why}." for name, why in self.left_out.items())
        note = "Autoencoders of the last hidden layer, scored on held-out episodes. " + left
        return Table("Dictionaries on agents", columns, rows, note)

    def to_json(self) -> dict[str, Any]:
        """The document that is kept."""
        return {
            "amounts": dict(self.amounts),
            "sites": dict(self.sites),
            "left_out": dict(self.left_out),
            "cells": [
                {"agent": c.subject, "kind": c.kind, "reason": c.reason, **c.scores}
                for c in self.cells
            ],
        }


def kept_words(kept: Mapping[str, Any] | None) -> str:
    """The return kept with its interval, or a dash."""
    if not kept or kept.get("value") is None:
        return "–"
    if kept.get("low") is None:
        return f"{kept['value']:.0%}"
    return f"{kept['value']:.0%} [{kept['low']:.0%}, {kept['high']:.0%}]"


def run(
    subjects: Sequence[Subject],
    out: Path,
    *,
    kinds: Sequence[str] = (),
    amounts: Amounts | None = None,
    left_out: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Bench:
    """Runs what is not there yet of every kind on every subject, and writes `out/bench.json`.

    Raises UnknownName for a kind nobody registered, and InvalidInput where `out` holds a run with
    other amounts or another seed.
    """
    amounts = amounts or Amounts()
    wanted = chosen_kinds(kinds)
    facts = {**vars(amounts), "seed": seed}
    check_same(out, facts)
    sites: dict[str, str] = {}
    cells: list[Cell] = []
    without = dict(left_out or {})

    def known() -> Bench:
        return Bench(tuple(cells), sites, facts, without)

    write_document(out / RESULTS, known().to_json())
    with track("Benchmark", len(subjects) * len(wanted), "dictionaries") as progress:
        for subject in subjects:
            try:
                study, site = prepare(subject, out / "studies" / subject.name, amounts, seed)
            except PolicyscopeError as error:
                without[subject.name] = str(error)
                progress.advance(len(wanted), subject.name)
                continue
            sites[subject.name] = str(site)
            for cell in cells_of(subject, study, site, wanted, amounts, seed):
                cells.append(cell)
                write_document(out / RESULTS, known().to_json())
                progress.advance(1, f"{cell.subject}: {cell.kind}")
    found = known()
    write_document(out / RESULTS, found.to_json())
    return found


def chosen_kinds(kinds: Sequence[str]) -> list[str]:
    """The kinds asked for; by default all that are registered and can be autoencoders."""
    registered = DICTIONARIES.names()
    for kind in kinds:
        if kind not in registered:
            raise UnknownName.among("dictionary kind", kind, registered)
    return list(kinds) or [kind for kind in registered if kind not in NOT_AUTOENCODERS]


def check_same(out: Path, facts: Mapping[str, int]) -> None:
    """Raises InvalidInput where `out` holds a run that this one cannot go on with."""
    path = out / RESULTS
    if not path.exists():
        return
    known = read_document(path).get("amounts")
    if known != dict(facts):
        raise InvalidInput(
            f"{out} holds a run with {known}; this one is with {dict(facts)}. Give another folder."
        )


def prepare(subject: Subject, folder: Path, amounts: Amounts, seed: int) -> tuple[Study, Site]:
    """The study of a subject with its last hidden layer recorded, and that layer."""
    if (folder / MANIFEST).exists():
        study = Study.open(folder)
    else:
        study = Study.create(
            folder,
            agent=subject.agent,
            env=subject.environment,
            env_args=subject.arguments,
            seed=seed,
        )
    site = last_hidden(study)
    study.record(sites=[site], steps=amounts.steps, name=RECORDING, seed=seed, resume=True)
    return study, site


def last_hidden(study: Study) -> Site:
    """The last of the suggested sites that is a vector, of the policy where networks differ."""
    found = study.inspect()
    shapes = {info.site: info for info in found.sites}
    vectors = [site for site in found.suggested if len(shapes[site].shape) == 1]
    acting = [site for site in vectors if shapes[site].network in ("policy", "shared")]
    if not vectors:
        raise InvalidInput(f"{study.agent.name} has no hidden layer of single units.")
    return (acting or vectors)[-1]


def cells_of(
    subject: Subject,
    study: Study,
    site: Site,
    kinds: Sequence[str],
    amounts: Amounts,
    seed: int,
) -> Iterator[Cell]:
    """The cells of one subject, kind by kind; what is there already is read."""
    recording = study.recording(RECORDING)
    units, rank = recording.spec(str(site)).shape[0], rank_of(recording, site)
    for kind in kinds:
        kept = study.result("features", kind, "score.json")
        if kept is not None:
            yield Cell(subject.name, kind, kept)
            continue
        try:
            one = setting(kind, units, rank, amounts)
            one.name = kind
            study.fit(one, reads=site, writes=site, recording=RECORDING, resume=True, seed=seed,
                      **schedule_of(one, recording.steps, amounts))  # fmt: skip
            score = study.score(kind, recording=RECORDING, episodes=amounts.episodes, seed=seed)
        except PolicyscopeError as error:
            yield Cell(subject.name, kind, reason=str(error))
            continue
        yield Cell(subject.name, kind, score.to_json())


def rank_of(recording: Recording, site: Site) -> int:
    """Along how many directions the activations vary that a fit will be given."""
    samples = gather(recording, site, site, recording.header.seed)
    source = samples.source if isinstance(samples, Samples) else samples
    return Spectrum.of(source.sample(CALIBRATION_STEPS)[0]).rank


def setting(kind: str, units: int, rank: int, amounts: Amounts) -> Dictionary:
    """A kind at the width and sparsity of the benchmark."""
    known = {one.name for one in fields(cast(Any, DICTIONARIES.get(kind)))}
    width = min(amounts.expansion * units, amounts.most_width)
    if kind in ("pca", "ica"):
        width = rank  # they have no more directions than there are
    elif kind in ("raw", "nmf"):
        width = units
    choices: dict[str, Any] = {"width": width}
    if "k" in known:
        choices["k"] = max(1, min(amounts.k, units // 4))
    return DICTIONARIES.get(kind)(**choices)


def schedule_of(one: Dictionary, steps: int, amounts: Amounts) -> dict[str, Any]:
    """As many passes as make about the same number of updates for every kind."""
    batches = max(1, steps // one.schedule.batch_size)
    return {"seeds": amounts.seeds, "epochs": max(1, round(amounts.updates / batches))}
