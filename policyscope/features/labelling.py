"""Labelling the features of a dictionary, one after the other: each label is kept as it comes.

What goes wrong with one feature is told with it, and the others go on. Where the same goes wrong
with several in a row, the rest are not asked about: a key that is wrong stays wrong.
"""

import queue
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from policyscope.chat import LanguageModel
from policyscope.dictionaries.dictionary import Dictionary
from policyscope.errors import InvalidInput, NoAnswer, NotEnoughData
from policyscope.features.describe import (
    LABEL_STEPS,
    Codes,
    evidence_of,
    known_metrics,
    label_to_json,
    stream_codes,
)
from policyscope.features.label import Evidence, Label
from policyscope.features.labellers.llm import SOURCE, LanguageLabeller
from policyscope.features.labellers.rules import RuleLabeller
from policyscope.progress import track
from policyscope.recordings.recording import Recording
from policyscope.table import Column, Shown, Table

IN_A_ROW = 3
"""Failures of one kind after which nobody else is asked about."""
MOST_EFFECTS = 6
State = Literal["labelled", "there already", "nothing to label", "failed", "not asked"]


@dataclass(frozen=True)
class Attempt:
    """One feature and what came of labelling it; where nothing did, `error` says why."""

    index: int
    state: State
    label: Label | None = None
    error: str = ""


@dataclass(frozen=True)
class Labelling(Shown):
    """What came of labelling features of one dictionary."""

    dictionary: str
    labeller: str
    attempts: tuple[Attempt, ...] = field(repr=False)

    def of(self, *states: State) -> list[Attempt]:
        """The attempts that ended so."""
        return [one for one in self.attempts if one.state in states]

    @property
    def failures(self) -> list[Attempt]:
        """The features that should have a label by now and have none."""
        return self.of("failed", "not asked")

    @property
    def shortfall(self) -> str:
        """How many features lack a label, and what to do; empty where none does."""
        if not self.failures:
            return ""
        count, first = len(self.failures), self.failures[0]
        if len(self.attempts) == 1:
            return (
                f"{self.labeller} gave no label for {self.dictionary}#{first.index}: {first.error}"
            )
        return (
            f"{self.labeller} gave no label for {count} of {len(self.attempts)} features of "
            f"{self.dictionary}. What there was stays. #{first.index}: {first.error} Once that is "
            "mended, the same command without --again asks for the missing ones alone."
        )

    def table(self) -> Table:
        """One row per feature."""
        columns = (
            Column("#", "d"),
            Column("state", side="left"),
            Column("label", side="left"),
            Column("rule", side="left"),
            Column("precision", ".2f"),
            Column("by chance", ".2f"),
            Column("recall", ".2f"),
            Column("AUROC", ".2f"),
        )
        rows = tuple(
            (one.index, one.state, one.error, None, None, None, None, None)
            if one.label is None
            else (
                one.index,
                one.state,
                one.label.text,
                one.label.rule or one.label.note,
                one.label.precision,
                one.label.base_rate,
                one.label.recall,
                one.label.auroc,
            )
            for one in self.attempts
        )
        note = "Scores are on held-out episodes. A label is a guess until an experiment tests it."
        return Table(f"Labels of {self.dictionary} by {self.labeller}", columns, rows, note)

    def to_json(self) -> dict[str, Any]:
        """The document of `label --json`."""
        return {
            "dictionary": self.dictionary,
            "labeller": self.labeller,
            "labels": [
                {"index": one.index, **label_to_json(one.label)}
                for one in self.of("labelled")
                if one.label is not None
            ],
            "failures": [
                {"index": one.index, "feature": f"{self.dictionary}#{one.index}",
                 "state": one.state, "error": one.error}
                for one in self.failures
            ],
            "there_already": [one.index for one in self.of("there already")],
            "nothing_to_label": [
                {"index": one.index, "reason": one.error} for one in self.of("nothing to label")
            ],
        }  # fmt: skip


def label(
    recording: Recording,
    dictionary: Dictionary,
    *,
    llm: LanguageModel | None = None,
    features: Sequence[int] | None = None,
    known: Mapping[str, Any] | None = None,
    about: str = "",
    actions: Sequence[str] = (),
    keep: Callable[[int, Label], None] = lambda index, label: None,
    at_once: int = 1,
    seed: int = 0,
) -> Labelling:
    """Labels features, all unless some are named: by a language model, or by rules without one.

    `known` is the document of `features`, from which the model hears of effects on the `actions`;
    `about` says whose features these are. `keep` is called with each label as soon as it is there.
    So many are asked about `at_once`: a hosted server takes several, one on a laptop hardly.
    Raises NotEnoughData where no label could be scored.
    """
    if at_once < 1:
        raise InvalidInput(f"at_once is {at_once}; expected at least 1.")
    wanted = range(len(dictionary)) if features is None else features
    chosen = list(dict.fromkeys(dictionary[index].index for index in wanted))
    if not chosen:
        return Labelling(dictionary.name, name_of(llm), ())
    evidence, codes = gather(recording, dictionary, chosen, seed)
    cards = {card["index"]: card for card in (known or {}).get("features", ())}
    by_rules = RuleLabeller(evidence)
    by_model = None if llm is None else LanguageLabeller(evidence, llm, about)

    def find(place: int) -> Label:
        column = np.ascontiguousarray(codes[:, place])
        if by_model is None:
            return by_rules.label(column)
        return by_model.label(column, effects(cards.get(chosen[place]), actions))

    attempts: dict[int, Attempt] = {}
    lasting = 0
    what = f"Labelling {dictionary.name} by {name_of(llm)}"
    with (
        closing(each(find, len(chosen), at_once)) as asked,
        track(what, len(chosen), "features", is_slow=llm is not None) as progress,
    ):
        progress.advance(0)
        for place, came in asked:
            index = chosen[place]
            if isinstance(came, NoAnswer):
                lasting = lasting + 1 if came.lasts else 0
                attempts[index] = Attempt(index, "failed", error=str(came))
            elif came.rule or came.source == SOURCE:
                lasting = 0
                keep(index, came)
                attempts[index] = Attempt(index, "labelled", came)
            else:
                why = f"{came.text}: {came.note}"
                attempts[index] = Attempt(index, "nothing to label", error=why)
            progress.advance(1, f"#{index}")
            if lasting == IN_A_ROW:
                break
    left = f"Not asked about, since the {IN_A_ROW} before failed alike."
    return Labelling(
        dictionary.name,
        name_of(llm),
        tuple(attempts.get(index, Attempt(index, "not asked", error=left)) for index in chosen),
    )


Came = Label | NoAnswer


def each(
    find: Callable[[int], Label], count: int, at_once: int
) -> Generator[tuple[int, Came], None, None]:
    """What came of each of `count` places, as it comes; whoever closes it has no more begun.

    What is under way then goes on in threads that nobody waits for.
    """

    def attempt(place: int) -> Came:
        try:
            return find(place)
        except NoAnswer as error:
            return error

    if at_once == 1:
        yield from ((place, attempt(place)) for place in range(count))
        return
    came: queue.SimpleQueue[tuple[int, Came | BaseException]] = queue.SimpleQueue()
    # One may be begun for each that was taken, and so many before.
    room = threading.Semaphore(0)
    places = iter(range(count))
    lock = threading.Lock()
    is_over = threading.Event()

    def work() -> None:
        while room.acquire():
            with lock:
                place = next(places, None)
            if place is None or is_over.is_set():
                return
            try:
                came.put((place, attempt(place)))
            except BaseException as error:  # told where it is taken
                came.put((place, error))

    workers = min(at_once, count)
    for _ in range(workers):
        threading.Thread(target=work, name="labelling", daemon=True).start()
        room.release()
    try:
        for _ in range(count):
            place, found = came.get()
            if isinstance(found, BaseException) and not isinstance(found, NoAnswer):
                raise found
            yield place, found
            room.release()
    finally:
        is_over.set()
        room.release(workers)


def name_of(llm: LanguageModel | None) -> str:
    """Who labels."""
    return "rules" if llm is None else llm.name


def gather(
    recording: Recording, dictionary: Dictionary, features: Sequence[int], seed: int
) -> tuple[Evidence, Float[np.ndarray, "step feature"]]:
    """The metrics and the codes of these features, on as many steps as `features` labels on."""
    names, _ = known_metrics(recording)
    if not names:
        raise NotEnoughData(
            f"{recording.name} has no metric that is known at most steps; a label speaks of "
            "metrics. Record some: policyscope record STUDY --metric …"
        )
    kept: list[Codes] = []
    for part in stream_codes(recording, dictionary, names):
        part = part.where_known()
        kept.append(replace(part, codes=part.codes[:, list(features)]))
        if sum(len(one.codes) for one in kept) >= LABEL_STEPS:
            break
    evidence = evidence_of(recording, names, kept, seed)
    evidence.held_out  # noqa: B018  (refuses too few episodes, before anybody is asked)
    return evidence, np.concatenate([part.codes for part in kept])


def effects(card: Mapping[str, Any] | None, actions: Sequence[str]) -> str:
    """What a feature does to the actions in words, the largest effects first."""
    known = (card or {}).get("action_effect") or {}
    for name in ("measured", "direct"):
        values: Sequence[float | None] = known.get(name) or ()
        found = [(value, at) for at, value in enumerate(values) if value is not None]
        if found:
            break
    else:
        return ""
    said = []
    for value, at in sorted(found, key=lambda pair: -abs(pair[0]))[:MOST_EFFECTS]:
        action = actions[at] if at < len(actions) else str(at)
        text = f"{action} {value:+.3g}"
        if name == "measured" and known["measured_low"][at] is not None:
            text += f" [{known['measured_low'][at]:+.3g}, {known['measured_high'][at]:+.3g}]"
        said.append(text)
    how = "change of the {} by it, with 95 % intervals" if name == "measured" else "slope of the {}"
    return f"{', '.join(said)} ({how.format(known.get('output') or 'output')})."
