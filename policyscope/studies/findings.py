"""What a study found, in plain sentences with their numbers, and what it has not looked at yet."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from policyscope.experiments.effect import LEVEL, fewest_directions
from policyscope.studies.charts import signed, span, spoken
from policyscope.studies.plot import Number, is_number
from policyscope.studies.study import Study

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """One sentence of the summary and what it is about."""

    about: str
    text: str


@dataclass(frozen=True)
class Gap:
    """Something the study does not hold yet, and the command that adds it."""

    what: str
    command: str


@dataclass(frozen=True)
class Results:
    """Everything a study has kept, as it lies on disk; what is missing is None or left out."""

    evaluation: Document | None
    training: Document | None
    headers: Mapping[str, Document]
    """By dictionary: the header with its notes. The following are keyed likewise."""
    features: Mapping[str, Document]
    scores: Mapping[str, Document]
    sweeps: Mapping[str, Document]
    sizes: Sequence[Document]
    nudges: Mapping[str, Document]


def findings(study: Study, results: Results) -> list[Finding]:
    """The summary: one finding per step of the work that was done, an honest no included."""
    said = [
        ("Agent", say_agent(study, results)),
        *(("Dictionaries", say_sizes(sizes, results)) for sizes in results.sizes),
        ("Fidelity", say_fidelity(results)),
        ("Features", say_labels(results)),
        ("Causes", say_causes(results)),
        *(
            (f"Nudge ({place})" if len(results.nudges) > 1 else "Nudge", str(nudge["verdict"]))
            for place, nudge in results.nudges.items()
        ),
    ]
    return [Finding(about, typeset(text)) for about, text in said if text]


def say_agent(study: Study, results: Results) -> str:
    """Who acts where, and how well."""
    who = study.manifest.agent
    parameters = who.get("parameters")
    text = f"{who['name']} ({who['algorithm']}"
    text += f", {parameters:,} parameters)" if is_number(parameters) else ")"
    found = results.evaluation
    if found is None:
        return f"{text} acts in {study.environment_id}. It has not been evaluated."
    how = "acting greedily" if found.get("deterministic") else "sampling its actions"
    text += f" returns {found['return_mean']:.1f}"
    if is_number(found["low"]):
        text += f" [{found['low']:.1f}, {found['high']:.1f}]"
    text += f" on average over {found['episodes']} episodes of {study.environment_id}, {how}. "
    return f"{text}Its episodes end with {say_endings(found['endings'])}."


def say_endings(endings: Mapping[str, int]) -> str:
    """Endings with their counts, the most common first."""
    ordered = sorted(endings.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{spoken(name)} ({count})" for name, count in ordered)


def say_sizes(sizes: Document, results: Results) -> str:
    """Which width to use for two sites, and whether its directions are found again."""
    text = f"{sizes['reads']} → {sizes['writes']}: {sizes['reason']}"
    advised = next((row for row in sizes["rows"] if row["width"] == sizes["advised"]), None)
    if advised and is_number(advised.get("stability")):
        text += (
            f" Between its seeds the directions match with mean |cosine| {advised['stability']:.2f}"
        )
        text += f" (random directions: {advised['chance']:.2f})."
    return text


def say_fidelity(results: Results) -> str:
    """How much of the behaviour survives when the reconstruction takes the activation's place."""
    kept = {n: s["return_kept"] for n, s in results.scores.items() if s.get("return_kept")}
    kept = {name: k for name, k in kept.items() if is_number(k["value"])}
    if not kept:
        return ""
    name = max(kept, key=lambda one: kept[one]["value"])
    best, worst = kept[name], min(kept, key=lambda one: kept[one]["value"])
    text = (
        f"With the reconstruction in place of the activation the agent keeps {share(best['value'])}"
    )
    text += f" {share_span(best['low'], best['high'])} of its return at best ({name})"
    if worst != name:
        text += f" and {share(kept[worst]['value'])}"
        text += f" {share_span(kept[worst]['low'], kept[worst]['high'])} at worst ({worst})"
    text += f"; 0 is the activation replaced by its mean, {best['episodes']} paired episodes each"
    return f"{text}."


def say_labels(results: Results) -> str:
    """How many features are alive and labelled, and how well the labels hold."""
    cards = [card for table in results.features.values() for card in table["features"]]
    if not cards:
        return ""
    alive = [card for card in cards if not card["dead"]]
    named = [c for c in alive if c["label"] and is_number(c["label"]["auroc"])]
    text = (
        f"{len(alive)} of {len(cards)} features fire at all; {len(named)} have a label with a score"
    )
    if not named:
        return f"{text}."
    scores = [card["label"] for card in named]
    best = max(named, key=lambda card: card["label"]["auroc"])
    label = best["label"]
    text += f", with median held-out precision {median(known(scores, 'precision')):.2f}, recall "
    text += (
        f"{median(known(scores, 'recall')):.2f} and AUROC {median(known(scores, 'auroc')):.2f}. "
    )
    return text + (
        f"The best by AUROC is {best['address']}, “{label['text']}”: AUROC {label['auroc']:.2f} "
        f"on {label['support']:,} held-out firings in {label['episodes']} episodes. "
        "Every label is a guess until someone tests it."
    )


def known(rows: Sequence[Document], name: str) -> list[Number]:
    """The values of one key that are numbers; 0 alone where there are none."""
    return [row[name] for row in rows if is_number(row[name])] or [0.0]


def say_causes(results: Results) -> str:
    """How many settings change the return, and how many of them beyond random directions."""
    tables = [table for table in results.sweeps.values() if table["conditions"]]
    conditions = [condition for table in tables for condition in table["conditions"]]
    if not conditions:
        return ""
    shown = [c for c in conditions if c["p_corrected"] <= LEVEL]
    text = (
        f"Of {len(conditions)} settings of feature and strength, {len(shown)} change the mean "
        f"return beyond chance (p ≤ {LEVEL:g}, corrected over each table)."
    )
    compared = [table for table in tables if can_confirm(table)]
    if len(compared) < len(tables):
        text += f" {say_uncompared(tables)}"
    if not compared:
        return text
    return f"{text} {say_confirmed(compared)}"


def can_confirm(sweep: Document) -> bool:
    """Whether a sweep had random directions enough to tell a feature from one.

    Sweeps of before their p was kept cannot: what they call confirmed was not corrected.
    """
    is_enough = sweep["random_band"]["directions"] >= fewest_directions()
    return bool(is_enough and all("p_random" in c for c in sweep["conditions"]))


def say_uncompared(tables: Sequence[Document]) -> str:
    """Which sweeps cannot tell a feature from a random direction, and why."""
    bare = sum(not table["random_band"]["directions"] for table in tables)
    few = [t for t in tables if t["random_band"]["directions"] and not can_confirm(t)]
    parts = []
    if bare:
        parts.append(f"{bare} of {len(tables)} tables were not compared with random directions")
    if few:
        parts.append(
            f"{len(few)} of {len(tables)} tables have too few random directions to tell "
            f"({fewest_directions()} are needed)"
        )
    return f"{' and '.join(parts)}: there it is not known whether any push of that size does it."


def say_confirmed(tables: Sequence[Document]) -> str:
    """What holds beside random directions of equal norm, in the tables that have enough."""
    confirmed = [c for table in tables for c in table["conditions"] if c["confirmed"]]
    raising = [condition for condition in confirmed if condition["difference"] > 0]
    directions = sorted({int(table["random_band"]["directions"]) for table in tables})
    beside = " to ".join(str(number) for number in dict.fromkeys((directions[0], directions[-1])))
    text = (
        f"{len(confirmed)} do so beyond random directions of equal norm ({beside} beside each "
        f"feature, p ≤ {LEVEL:g} for the whole table): {len(confirmed) - len(raising)} lower it, "
        f"{len(raising) or 'none'} raise{'s' if len(raising) == 1 else ''} it."
    )
    if not confirmed:
        return text
    most = max(confirmed, key=lambda condition: abs(condition["difference"]))
    return text + (
        f" The largest change is {signed(most['difference'])}"
        f"{span(most['difference_low'], most['difference_high'])} "
        f"({most['address']}, α {signed(most['alpha'])})."
    )


def say_fits(results: Results) -> str:
    """How the dictionaries were fitted: those fitted alike in one sentence."""
    alike: dict[str, list[str]] = {}
    for name, header in results.headers.items():
        notes = header.get("notes") or {}
        how, held_out = notes.get("schedule"), notes.get("held_out") or ()
        choose_on = notes.get("choose_on") or ()
        if not how:
            continue
        text = f"{how['epochs']} epochs, batches of {how['batch_size']}, learning rate "
        text += (
            f"{how['learning_rate']:g}, {how['seeds']} seeds, on {notes['samples']:,} samples of "
        )
        text += f"recording {notes['recording']}; {len(choose_on)} other episodes chose the seed, "
        text += f"{len(held_out)} were held out of both."
        alike.setdefault(text, []).append(name)
    said = [f"{', '.join(names)}: {text}" for text, names in alike.items()]
    return " ".join(said) or "Not written down for these dictionaries."


def verdict(condition: Document) -> str:
    """What one condition of a sweep shows, in the words of the sweep."""
    return str(condition.get("verdict", "not known"))


def share(value: Number | None) -> str:
    """A fraction as a percentage."""
    return f"{whole_percent(value)} %" if is_number(value) else "–"


def share_span(low: Number | None, high: Number | None) -> str:
    """An interval of fractions in brackets; nothing where it is not known."""
    if not (is_number(low) and is_number(high)):
        return ""
    return f"[{whole_percent(low)}, {whole_percent(high)}]"


def whole_percent(value: Number) -> str:
    """A fraction in whole hundredths; zero has no sign."""
    return f"{round(100 * value) + 0:d}".replace("-", "−")


def typeset(sentence: str) -> str:
    """A sentence with real minus signs before its numbers."""
    return re.sub(r"(?<![\w.])-(?=\d)", "−", sentence)


def gaps(study: Study, results: Results) -> list[Gap]:
    """What the study lacks, in the order in which the work is done."""
    folder = shlex.quote(str(study.directory))

    def command(verb: str, *rest: str) -> str:
        return " ".join(["policyscope", verb, folder, *rest])

    found: list[Gap] = []
    if results.evaluation is None:
        found.append(Gap("How well the agent does", command("evaluate", "--episodes", "100")))
    if not study.recordings():
        found.append(Gap("A recording", command("record", "--site SITE", "--episodes", "100")))
    if not results.headers:
        fit = command("fit", "--reads SITE", "--writes SITE", "relu", "--width", "8")
        found.append(Gap("A dictionary", fit))
    kinds = (
        ("What the features mean", "features", results.features),
        ("How good the dictionary is", "score", results.scores),
        ("What the features cause", "sweep", results.sweeps),
    )
    for name in results.headers:
        for what, verb, present in kinds:
            if name not in present:
                found.append(Gap(f"{what}: {name}", command(verb, shlex.quote(name))))
    if results.headers and not results.nudges:
        name = shlex.quote(next(iter(results.headers)))
        found.append(Gap("A search for a feature that helps", command("nudge", name)))
    return found
