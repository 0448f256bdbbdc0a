"""Side by side: the scores of several dictionaries, and how many features they have in common.

A feature of one is found in another where some feature there has nearly the same code (|r| > 0.9
over the same steps), or writes nearly the same direction (|cosine| ≥ 0.9). Neither is one to one,
and it is not symmetric: a wide dictionary may hold all of a narrow one and much besides. In few
dimensions directions agree by chance, so the share of as many random directions is given too.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float

from policyscope.dictionaries.dictionary import Dictionary
from policyscope.document import strict
from policyscope.errors import InvalidInput, NotEnoughData
from policyscope.interventions.code import by_position
from policyscope.interventions.target import reads_of, writes_of
from policyscope.progress import track
from policyscope.recordings.recording import Recording
from policyscope.scores.redundancy import SAME, CodeCorrelation
from policyscope.scores.score import Score, percent
from policyscope.scores.stability import FOUND_AGAIN, cosines
from policyscope.table import Column, Shown, Table

MATCHED_STEPS = 50_000
"""Steps, evenly over the recording, whose codes are compared."""


@dataclass(frozen=True)
class Match:
    """How much of one dictionary is found in another."""

    ours: str
    theirs: str
    by_code: float
    """Share of our living features whose code some feature of theirs nearly repeats.

    NaN where the two cannot be asked about the same samples, as a map and a vector.
    """
    by_direction: float
    """Share of them whose direction some living feature of theirs has; NaN between sites."""
    by_chance: float
    """`by_direction` of as many random directions in place of theirs."""
    features: int
    """Our living ones."""

    def to_json(self) -> dict[str, Any]:
        """The entry of `compare --json`."""
        return {name: strict(value) for name, value in vars(self).items()}


@dataclass(frozen=True, eq=False)
class SideBySide(Shown):
    """The scores of several dictionaries in the order given, and what they share."""

    scores: tuple[Score, ...]
    matches: tuple[Match, ...] = ()

    def table(self) -> Table:
        """One row per score and one column per dictionary."""
        columns = (
            Column("", side="left"),
            *(Column(score.dictionary, side="left") for score in self.scores),
        )
        listed = [facts_of(score) for score in self.scores]
        names = dict.fromkeys(name for facts in listed for name in facts)
        rows = [(name, *(facts.get(name) for facts in listed)) for name in names]
        for ours in self.scores:
            found = [self.match(ours.dictionary, theirs.dictionary) for theirs in self.scores]
            if any(found):
                rows.append((f"of {ours.dictionary} found in", *map(say, found)))
        return Table("Dictionaries side by side", columns, tuple(rows), self.note())

    def match(self, ours: str, theirs: str) -> Match | None:
        """How much of one is found in another; None where that was not asked."""
        pairs = {(match.ours, match.theirs): match for match in self.matches}
        return pairs.get((ours, theirs))

    def note(self) -> str:
        """What the numbers rest on."""
        bases = {(score.episodes, score.basis) for score in self.scores}
        text = "In brackets 95 % intervals over episodes. "
        if len(bases) == 1:
            ((episodes, basis),) = bases
            text += f"All on {episodes} episodes: {basis}."
        else:
            each = "; ".join(f"{s.dictionary} on {s.episodes}: {s.basis}" for s in self.scores)
            text += f"Not on the same episodes. {each}."
        if self.matches:
            text += (
                " Found: living features with the same code (|r| > 0.9), with the same direction "
                "(|cosine| ≥ 0.9), and the latter for random directions."
            )
        return text

    def to_json(self) -> dict[str, Any]:
        """The document of `compare --json`."""
        return {
            "dictionaries": [score.to_json() for score in self.scores],
            "matches": [match.to_json() for match in self.matches],
        }


def compare_dictionaries(
    scores: Sequence[Score], dictionaries: Sequence[Dictionary], recording: Recording
) -> SideBySide:
    """Dictionaries and their scores side by side, with their features matched on `recording`.

    Raises InvalidInput for fewer than two, or two of one name.
    """
    names = [dictionary.name for dictionary in dictionaries]
    if len(names) < 2 or len(set(names)) < len(names):
        given = ", ".join(names) or "none"
        raise InvalidInput(f"Two or more different dictionaries can be compared; got {given}.")
    if names != [score.dictionary for score in scores]:
        raise InvalidInput("Every dictionary needs its own score, in the same order.")
    return SideBySide(tuple(scores), match_features(dictionaries, recording))


def match_features(dictionaries: Sequence[Dictionary], recording: Recording) -> tuple[Match, ...]:
    """How much of each dictionary is found in each other one, on the same recorded steps."""
    folds: dict[tuple[int, int], CodeCorrelation] = {}
    fires = [np.zeros(len(dictionary), np.bool_) for dictionary in dictionaries]
    sites = list(dict.fromkeys(str(reads_of(dictionary)) for dictionary in dictionaries))
    every = math.ceil(max(recording.steps, 1) / MATCHED_STEPS)
    with track("Matching features", recording.steps, "steps") as progress:
        seen = 0
        for parts in recording.iterate(*sites):
            chosen = slice(-seen % every, None, every)
            read = dict(
                zip(sites, (np.array(part[chosen], np.float32) for part in parts), strict=True)
            )
            codes = [codes_of(one, read[str(reads_of(one))]) for one in dictionaries]
            for index, code in enumerate(codes):
                fires[index] |= (code != 0).any(axis=0)
                for other in range(index):
                    if len(code) == len(codes[other]):
                        fold = folds.setdefault((other, index), CodeCorrelation())
                        fold.update(codes[other], code)
            seen += len(parts[0])
            progress.advance(len(parts[0]))
    if not seen:
        raise NotEnoughData(f"Recording {recording.name!r} is empty. Record some steps first.")
    correlations = {pair: fold.result() for pair, fold in folds.items()}
    correlations |= {(b, a): correlation.T for (a, b), correlation in correlations.items()}
    return tuple(
        match_of(ours, theirs, correlations.get((i, j)), fires[i], fires[j])
        for i, ours in enumerate(dictionaries)
        for j, theirs in enumerate(dictionaries)
        if i != j
    )


def codes_of(
    dictionary: Dictionary, activation: Float[np.ndarray, "step ..."]
) -> Float[np.ndarray, "sample feature"]:
    """The codes of recorded activations, one sample per step, or per position of a map."""
    with torch.no_grad():
        codes = dictionary.encode(by_position(torch.from_numpy(activation)))
    return codes.reshape(-1, codes.shape[-1]).numpy()


def match_of(
    ours: Dictionary,
    theirs: Dictionary,
    correlation: Float[np.ndarray, "feature other"] | None,
    fires: Bool[np.ndarray, " feature"],
    they_fire: Bool[np.ndarray, " other"],
) -> Match:
    """What of our features that fire is found among theirs."""
    by_code = by_direction = by_chance = math.nan
    living = int(fires.sum())
    if living and they_fire.any():
        if correlation is not None:
            by_code = float((np.abs(correlation[fires]).max(axis=1) > SAME).mean())
        if writes_of(ours) == writes_of(theirs):
            mine = ours.directions().cpu().numpy()[fires]
            others = theirs.directions().cpu().numpy()[they_fire]
            random = np.random.default_rng(0).normal(size=others.shape)
            by_direction, by_chance = share_found(mine, others), share_found(mine, random)
    return Match(ours.name, theirs.name, by_code, by_direction, by_chance, living)


def share_found(
    ours: Float[np.ndarray, "feature unit"], theirs: Float[np.ndarray, "other unit"]
) -> float:
    """The share of our directions that some direction of theirs has, with either sign."""
    return float((np.abs(cosines(ours, theirs)).max(axis=1) >= FOUND_AGAIN).mean())


def say(match: Match | None) -> str | None:
    """A match as a cell of the table."""
    if match is None:
        return None
    shares = (match.by_code, match.by_direction, match.by_chance)
    return "code {}, direction {} (chance {})".format(*map(percent, shares))


def facts_of(score: Score) -> dict[str, str]:
    """The names and values of all scores, without what is said beside them.

    What is particular to one dictionary, as the number of a feature, has no row.
    """
    rows = [*score.rows_of_codes(), *score.rows_of_behaviour(), *score.rows_of_meaning()]
    return {name: value for name, value, _ in rows}
