"""Fitting dictionaries on a recording: many seeds at once, held-out episodes, the best one kept.

One seed says little: many of the small dictionaries of the CartPole study collapse to nothing at an
unlucky start. So every choice is fitted from several seeds, as one batched family where the kind
allows it; the seed that explains other episodes best is kept, and the others say how far to
trust it. The best of many on some episodes looks better there than it is, so that further episodes
are held out of the fit and of the choice, for the scores.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from policyscope.address import Site
from policyscope.dictionaries.behaviour import Behaviour
from policyscope.dictionaries.checkpoint import Checkpoint
from policyscope.dictionaries.dictionary import Dictionary
from policyscope.dictionaries.family import fit_family
from policyscope.dictionaries.fit import Fitted, fit_source
from policyscope.dictionaries.relu import ReLU
from policyscope.dictionaries.schedule import Schedule
from policyscope.dictionaries.solved import Solved
from policyscope.dictionaries.source import InMemory, Pair
from policyscope.dictionaries.spectrum import Spectrum
from policyscope.errors import InvalidInput, UnknownName
from policyscope.recordings.batches import places_of
from policyscope.recordings.recording import Recording
from policyscope.scores.reconstruction import Reconstruction, ReconstructionScore
from policyscope.scores.redundancy import (
    CodeCorrelation,
    Descent,
    Member,
    SizeComparison,
    compare_sizes,
    descend,
)
from policyscope.scores.score import UNKNOWN_EPISODES
from policyscope.scores.stability import Stability, stability
from policyscope.statistics.episodes import FEWEST_EPISODES
from policyscope.studies.balance import balanced, metric_of
from policyscope.studies.online import Online
from policyscope.studies.streamed import (
    Streamed,
    in_one,
    is_too_large,
    pairs,
    step_bytes,
    stream,
)
from policyscope.table import Column, Table

CHOOSE_SHARE = 0.1
HELD_OUT_SHARE = 0.1
READ_BYTES = 2**26
"""Of what is read, or made, of samples at once."""
CORRELATED_STEPS = 16_384
"""Samples on which features of one fit are compared with each other."""


@dataclass(frozen=True, eq=False)
class Samples:
    """The activations of two sites, split by episode; those held out are left unread."""

    x: Float[Tensor, "step unit"]
    y: Float[Tensor, "step target"]
    choose_x: Float[Tensor, "chosen unit"]
    choose_y: Float[Tensor, "chosen target"]
    fitted_on: tuple[int, ...]
    choose_on: tuple[int, ...]
    """For choosing the best seed; empty where there are too few episodes, then choose_x is x."""
    held_out: tuple[int, ...]
    """For scoring what was chosen; empty where there are too few episodes."""
    data_seed: int = 0
    """Decides the order of the samples in a fit."""
    balance: str | None = None
    """The metric whose values the fit sees evenly; None for the samples as they come."""

    @property
    def count(self) -> int:
        """How many samples are fitted on."""
        return len(self.x)

    @cached_property
    def source(self) -> InMemory:
        """What is fitted on, as a source for fits."""
        return InMemory(self.x, self.y, self.data_seed, about=self.balance or "")


Sampled = Samples | Streamed | Online


def gather(
    recording: Recording,
    reads: Site,
    writes: Site | Sequence[Site],
    seed: int,
    balance: str | None = None,
) -> Samples | Streamed:
    """The samples of a read site and its written ones, streamed where memory is too small.

    With `balance` those that are fitted on are drawn so that the values of that metric come evenly.

    Of several written sites y is the units of one after another.

    Maps give one per position, and sites of tokens one per token. A tenth of the episodes is kept
    back to choose the best seed on, another to score it on.
    """
    targets = (writes,) if isinstance(writes, Site) else tuple(writes)
    for site in (reads, *targets):
        if str(site) not in recording.columns:
            known = [spec.name for spec in recording.header.columns if spec.kind == "site"]
            raise UnknownName.among(f"recorded site in {recording.name!r}", str(site), known)
    for one in targets:
        check_places(recording, reads, one)
    episode = np.asarray(recording.read("episode"))
    if len(episode) == 0:
        raise InvalidInput(f"Recording {recording.name!r} is empty. Record some steps first.")
    fitted_on, choose_on, held_out = split(np.unique(episode), seed)
    places = prod(places_of(recording.spec(str(reads))))
    values = None if balance is None else metric_of(recording, balance, fitted_on, places)
    if is_too_large(recording, reads, targets):
        if balance is not None:
            raise InvalidInput(
                f"Recording {recording.name!r} is too large to hold in memory, and only what is "
                "held can be balanced. Record less of it under another name."
            )
        return stream(recording, reads, targets, fitted_on, choose_on, held_out, seed)
    x, y = read_pairs(recording, reads, targets, fitted_on)
    choose_x, choose_y = read_pairs(recording, reads, targets, choose_on) if choose_on else (x, y)
    if values is not None:
        chosen = torch.from_numpy(balanced(values, np.random.default_rng(seed)))
        is_one = y is x
        x = x[chosen]
        y = x if is_one else y[chosen]
    parts = (tuple(sorted(part)) for part in (fitted_on, choose_on, held_out))
    return Samples(x, y, choose_x, choose_y, *parts, data_seed=seed, balance=balance)


def check_places(recording: Recording, reads: Site, writes: Site) -> None:
    """Raises InvalidInput where one site has samples in places that the other does not have."""
    read, written = recording.spec(str(reads)), recording.spec(str(writes))
    for spec in (read, written):
        if len(spec.shape) not in (1, 2, 3):
            raise InvalidInput(
                f"Site '{spec.name}' has shape {list(spec.shape)}. Dictionaries are fitted on "
                "[unit], [token, unit] and [channel, height, width]."
            )
    if places_of(read) != places_of(written):
        raise InvalidInput(
            f"'{reads}' {list(read.shape)} and '{writes}' {list(written.shape)} have no samples in "
            "common. A dictionary reads and writes in the same places: two vectors [unit], two "
            "sites of as many tokens [token, unit], or two maps [channel, height, width] of one "
            "height and width."
        )


def split(numbers: Int[np.ndarray, " episode"], seed: int) -> tuple[set[int], set[int], set[int]]:
    """Episodes to fit on, to choose on and to score on; all to fit on where they are too few."""
    shuffled = np.random.default_rng(seed).permutation(numbers).tolist()
    if len(shuffled) < FEWEST_EPISODES:
        return set(shuffled), set(), set()
    choosing, held = (max(round(s * len(shuffled)), 1) for s in (CHOOSE_SHARE, HELD_OUT_SHARE))
    kept_back = choosing + held
    return set(shuffled[kept_back:]), set(shuffled[:choosing]), set(shuffled[choosing:kept_back])


@dataclass(frozen=True)
class Basis:
    """Which episodes a fitted dictionary is scored on, and what they are to it."""

    episodes: frozenset[int]
    is_held_out: bool
    words: str


def basis_of(notes: Mapping[str, Any], recording: Recording) -> Basis:
    """The episodes of `recording` that neither fit nor choice saw; all, where there are none.

    `notes` are those of the fit. Whether episodes are the same is told by their seeds, which
    follow from the recording's seed and their number: recordings of two names can share them.
    """
    numbers = frozenset(np.unique(np.asarray(recording.read("episode"))).tolist())
    seeds = len(notes.get("seeds") or ())
    chosen = f"the best of {seeds} seeds was chosen on" if seeds > 1 else ""
    if "imported" in notes or "recording" not in notes:
        return Basis(numbers, False, f"of recording {recording.name!r}; {UNKNOWN_EPISODES}")
    is_same = recording.name == notes["recording"]
    if "seen" not in notes:  # by a version that chose on what it held out
        held = numbers & frozenset(notes.get("held_out") or ())
        if not is_same:
            return Basis(numbers, False, f"of recording {recording.name!r}; {UNKNOWN_EPISODES}")
        if held:
            words = "held out of the fit" + (f", but {chosen} them" if chosen else "")
            return Basis(held, not chosen, words)
    seen: frozenset[int] = frozenset()
    if recording.header.seed == notes.get("recording_seed", recording.header.seed):
        seen = frozenset(notes.get("seen") or numbers)
    unseen = numbers - seen
    if not unseen:
        words = "the same as those of the fit" + (f", and {chosen} them" if chosen else "")
        return Basis(numbers, False, f"{words}: this flatters the dictionary")
    if not is_same:
        return Basis(unseen, True, f"of recording {recording.name!r}, which the fit did not see")
    words = "held out of the fit" + (" and of the choice of its seed" if chosen else "")
    return Basis(unseen, True, words)


def read_pairs(
    recording: Recording, reads: Site, writes: Sequence[Site], episodes: set[int]
) -> tuple[Tensor, Tensor]:
    """All (x, y) of these episodes in their order on disk."""
    columns = [str(reads), *map(str, writes)]
    generator = np.random.default_rng(0)
    rows = READ_BYTES // step_bytes(recording, reads, writes) + 1
    parts = list(
        pairs(recording, columns, rows, generator=generator, shuffle=None, episodes=episodes)
    )
    x = in_one([x for x, _ in parts])
    return x, x if parts[0][0] is parts[0][1] else in_one([y for _, y in parts])


@dataclass(frozen=True, eq=False)
class Candidate:
    """One seed of one choice, measured on the episodes that choose."""

    fitted: Fitted
    score: ReconstructionScore
    member: Member


@dataclass(frozen=True, eq=False)
class Choice:
    """One dictionary as it was asked for: the seed that is kept, and all that were tried."""

    best: Candidate
    candidates: tuple[Candidate, ...]
    stability: Stability | None
    spectrum: Spectrum | None = None
    """Of the site that is read, on the episodes that choose; None of less than two samples."""

    @property
    def dictionary(self) -> Dictionary:
        """The dictionary that is kept."""
        return self.best.fitted.dictionary

    @property
    def objection(self) -> str:
        """What the spectrum has against its width; empty where nothing."""
        if self.spectrum is None or isinstance(self.dictionary, Solved):
            return ""
        active = getattr(self.dictionary, "k", None) or max(1, round(self.best.score.l0))
        return self.spectrum.objection(len(self.dictionary), active)

    def to_json(self) -> dict[str, Any]:
        """What the seeds say, for the dictionary's header and `fit --json`."""
        unexplained = [c.score.unexplained for c in self.candidates]
        return {
            "seeds": [c.fitted.seed for c in self.candidates],
            "seed": self.best.fitted.seed,
            "unexplained": self.best.score.unexplained,
            "unexplained_by_seed": unexplained,
            "unexplained_median": float(np.median(unexplained)),
            "l0": self.best.score.l0,
            "l0_by_seed": [c.score.l0 for c in self.candidates],
            "dead": self.best.score.dead,
            "dead_by_seed": [c.score.dead for c in self.candidates],
            "collapsed_seeds": sum(c.score.dead == 1.0 for c in self.candidates),
            "spectrum": None if self.spectrum is None else self.spectrum.to_json(),
            "objection": self.objection,
            "stability": None
            if self.stability is None
            else {
                "mean_cosine": self.stability.mean_cosine.tolist(),
                "found_again": self.stability.found_again.tolist(),
                "overall": self.stability.overall,
                "chance": self.stability.chance,
            },
        }


def fit_choices(
    samples: Sampled,
    choices: Sequence[Dictionary],
    reads: Site,
    writes: Site,
    *,
    seed: int,
    behaviour: Behaviour | None = None,
    resume_in: Path | None = None,
    resume: bool = False,
    **schedule: Any,
) -> list[Choice]:
    """Every choice fitted from several seeds; the best of each explains most where they choose.

    `schedule` changes parts of the schedule of each kind, see `Schedule`; `behaviour` also weighs
    errors by what they change in the agent's outputs. Fits write checkpoints
    below `resume_in`, and go on from those they find there if they are to `resume`.
    """
    for choice in choices:
        choice.reads, choice.writes = reads, writes
    schedules = [choice.schedule.changed(**schedule) for choice in choices]
    for one in schedules:
        one.check()
    fitted = fit_seeds(samples, choices, schedules, seed, behaviour, resume_in, resume)
    spectrum = Spectrum.of(samples.choose_x) if len(samples.choose_x) > 1 else None
    found = []
    for those in fitted:
        candidates = tuple(measure(one, samples) for one in those)
        best = min(range(len(those)), key=lambda index: candidates[index].score.unexplained)
        again = None
        if len(those) > 1 and candidates[best].member.alive.any():
            again = stability(
                [c.member.directions for c in candidates],
                [c.member.alive for c in candidates],
                reference=best,
            )
        found.append(Choice(candidates[best], candidates, again, spectrum))
    return found


def fit_seeds(
    samples: Sampled,
    choices: Sequence[Dictionary],
    schedules: Sequence[Schedule],
    seed: int,
    behaviour: Behaviour | None,
    resume_in: Path | None,
    resume: bool,
) -> list[list[Fitted]]:
    """The fits of each choice, one per seed: as one family where the kind allows it."""
    data_seed, held_out = samples.data_seed, (samples.choose_x, samples.choose_y)
    numbers = [[seed + offset for offset in range(one.seeds)] for one in schedules]
    if (
        isinstance(samples, Samples)
        and behaviour is None
        and len(set(schedules)) == 1
        and all(type(choice) is ReLU for choice in choices)
    ):
        members = [
            cast(ReLU, one) for one, seeds in zip(choices, numbers, strict=True) for _ in seeds
        ]
        family = fit_family(
            members,
            samples.x,
            samples.y,
            seeds=[number for seeds in numbers for number in seeds],
            schedule=schedules[0],
            data_seed=data_seed,
            held_out=held_out,
        )
        each = schedules[0].seeds
        return [family[first : first + each] for first in range(0, len(family), each)]
    source = samples.source if isinstance(samples, Samples) else samples

    def checkpoint(choice: Dictionary, number: int) -> Checkpoint | None:
        if resume_in is None:
            return None
        return Checkpoint(resume_in / choice.name / f"seed{number}.safetensors", resume=resume)

    return [
        [
            fit_source(
                choice,
                source,
                schedule=schedule,
                seed=number,
                data_seed=data_seed,
                held_out=held_out,
                behaviour=behaviour,
                checkpoint=checkpoint(choice, number),
            )
            for number in seeds
        ]
        for choice, schedule, seeds in zip(choices, schedules, numbers, strict=True)
    ]


def notes_of(
    choice: Choice,
    samples: Sampled,
    recording: Recording | None,
    seed: int,
    schedule: Mapping[str, Any],
) -> dict[str, Any]:
    """What is written down with a fitted dictionary: how it came about, and what it has seen."""
    return {
        **choice.to_json(),
        "recording": None if recording is None else recording.name,
        "samples": samples.count,
        "balance": samples.balance if isinstance(samples, Samples) else None,
        "recording_seed": None if recording is None else recording.header.seed,
        "seen": sorted((*samples.fitted_on, *samples.choose_on)),
        "choose_on": list(samples.choose_on),
        "held_out": list(samples.held_out),
        "schedule": {**asdict(choice.dictionary.schedule.changed(**schedule)), "seed": seed},
    }


def measure(fitted: Fitted, samples: Sampled) -> Candidate:
    """Scores and code statistics of one fitted dictionary on the samples that choose."""
    dictionary = fitted.dictionary
    fold, correlation = Reconstruction(), CodeCorrelation()
    seen = 0
    with torch.no_grad():
        for x, y in chosen(samples, dictionary):
            codes, reconstruction = dictionary.decompose(x)
            fold.update(y.numpy(), reconstruction.numpy(), codes.numpy())
            if seen < CORRELATED_STEPS:
                correlation.update(codes.numpy(), codes.numpy())
            seen += len(x)
    score = fold.result()
    member = Member(
        width=len(dictionary),
        seed=fitted.seed,
        unexplained=score.unexplained,
        correlation=correlation.result(),
        directions=dictionary.directions().numpy(),
        alive=~score.is_dead,
    )
    return Candidate(fitted, score, member)


def chosen(samples: Sampled, dictionary: Dictionary) -> Iterator[Pair]:
    """The samples that choose, as many at once as their codes leave room for."""
    rows = max(1, READ_BYTES // (4 * len(dictionary)))
    return zip(samples.choose_x.split(rows), samples.choose_y.split(rows), strict=True)


@dataclass(frozen=True, eq=False)
class Sizes:
    """Several widths of one kind side by side: which to use, and what became of each feature."""

    comparison: SizeComparison
    descents: Mapping[str, tuple[Descent, ...]]
    """By the name of the narrower dictionary: its features in the next wider one."""

    def to_json(self) -> dict[str, Any]:
        """What is kept beside the dictionaries."""
        return {
            "advised": self.comparison.advised,
            "reason": self.comparison.reason,
            "criterion": self.comparison.criterion,
            "rows": [vars(row) for row in self.comparison.rows],
            "descents": {
                name: [
                    {
                        "feature": d.feature,
                        "fate": d.fate,
                        "children": list(d.children),
                    }
                    for d in descents
                ]
                for name, descents in self.descents.items()
            },
        }

    def table(self) -> Table:
        """One row per width."""
        return self.comparison.table()


def compare_choices(choices: Sequence[Choice], samples: Sampled) -> Sizes | None:
    """The widths of one fit against each other; None when there is one width only.

    Raises InvalidInput where two choices are of one width, see `check_widths`.
    """
    check_widths([choice.dictionary for choice in choices])
    ordered = sorted(choices, key=lambda choice: len(choice.dictionary))
    if len({len(choice.dictionary) for choice in ordered}) < 2:
        return None
    comparison = compare_sizes([c.member for choice in choices for c in choice.candidates])
    descents = {}
    for narrow, wide in pairwise(ordered):
        fold = CodeCorrelation()
        with torch.no_grad():
            x = samples.choose_x[:CORRELATED_STEPS]
            fold.update(narrow.dictionary.encode(x).numpy(), wide.dictionary.encode(x).numpy())
        fates = descend(fold.result(), narrow.best.member.directions, wide.best.member.directions)
        alive = narrow.best.member.alive
        descents[narrow.dictionary.name] = tuple(fate for fate in fates if alive[fate.feature])
    return Sizes(comparison, descents)


@dataclass(frozen=True, eq=False)
class Fits:
    """What one fit gave: the dictionaries that were kept, and how their sizes compare."""

    choices: tuple[Choice, ...]
    sizes: Sizes | None

    @property
    def dictionaries(self) -> tuple[Dictionary, ...]:
        """The dictionaries, in the order they were asked for."""
        return tuple(choice.dictionary for choice in self.choices)


def check_widths(dictionaries: Sequence[Dictionary]) -> None:
    """Raises InvalidInput where two dictionaries that are to be compared by width have the same."""
    widths = [dictionary.width for dictionary in dictionaries]
    twice = sorted({width for width in widths if widths.count(width) > 1})
    if twice:
        raise InvalidInput(
            f"Dictionaries that are fitted together are compared by their width, but width "
            f"{twice[0]} occurs {widths.count(twice[0])} times. Fit those one by one, or give "
            "`penalties` to compare penalties."
        )


@dataclass(frozen=True)
class PenaltyRow:
    """What one penalty gives over the seeds: medians."""

    width: int
    penalty: float
    unexplained: float
    l0: float
    dead: float


def compare_penalties(
    samples: Sampled, choice: ReLU, penalties: Sequence[float], **how: Any
) -> tuple[PenaltyRow, ...]:
    """The same dictionary under other penalties, from the same seeds."""
    others = []
    for penalty in penalties:
        other = replace(choice, penalty=penalty)
        other.name = f"{choice.name}-penalty{penalty:g}"
        others.append(other)
    assert choice.reads is not None
    assert choice.writes is not None
    found = fit_choices(samples, others, choice.reads, choice.writes, **how)
    return tuple(
        PenaltyRow(
            width=choice.width,
            penalty=penalty,
            unexplained=float(np.median([c.score.unexplained for c in one.candidates])),
            l0=float(np.median([c.score.l0 for c in one.candidates])),
            dead=float(np.median([c.score.dead for c in one.candidates])),
        )
        for penalty, one in zip(penalties, found, strict=True)
    )


def fit_table(choices: Sequence[Choice]) -> Table:
    """One row per dictionary: the kept seed, and how the others did."""
    columns = (
        Column("dictionary", side="left"),
        Column("unexplained", ".3f"),
        Column("median", ".3f"),
        Column("worst", ".3f"),
        Column("L0", ".2f"),
        Column("alive", side="right"),
        Column("found again", ".0%"),
        Column("collapsed seeds", side="right"),
    )
    rows = []
    for choice in choices:
        unexplained = [c.score.unexplained for c in choice.candidates]
        again = float("nan")
        if choice.stability is not None and np.isfinite(choice.stability.found_again).any():
            again = float(np.nanmean(choice.stability.found_again))
        collapsed = sum(c.score.dead == 1.0 for c in choice.candidates)
        rows.append(
            (
                choice.dictionary.name,
                choice.best.score.unexplained,
                float(np.median(unexplained)),
                max(unexplained),
                choice.best.score.l0,
                f"{int(choice.best.member.alive.sum())} of {len(choice.dictionary)}",
                again,
                f"{collapsed} of {len(choice.candidates)}",
            )
        )
    note = (
        "Unexplained variance, on the episodes that chose it, of the best seed, the median and the "
        "worst (the score is on others, if there are any); "
        "found again: share of other seeds with a matching direction (|cosine| ≥ 0.9)."
    )
    objections = [f"{c.dictionary.name}: {c.objection}" for c in choices if c.objection]
    return Table("Dictionaries", columns, tuple(rows), "\n".join([note, *objections]))
