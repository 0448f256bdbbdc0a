"""The sections of a report: a study's results as figures and rows, ready for its templates."""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from policyscope.address import Moment
from policyscope.dictionaries.file import read_curves, read_header
from policyscope.envs.ending import endings_of
from policyscope.envs.metric import metrics_of
from policyscope.errors import PolicyscopeError
from policyscope.recordings.frames import Frames, thumbnail
from policyscope.recordings.recording import Recording
from policyscope.studies import charts
from policyscope.studies.charts import Dose, Estimate, Track, feature_color, signed, spoken
from policyscope.studies.findings import Document, Results, verdict
from policyscope.studies.inspection import Inspection
from policyscope.studies.labels import Labels
from policyscope.studies.plot import Inline, Number, is_number
from policyscope.studies.study import Study

MOST_CARDS = 64
"""Features of one dictionary that get a card; a page with thousands of them would not open."""
MOST_CANDIDATES = 12
MOST_PICTURES = 5
"""Of one feature."""
PICTURE_WIDTH = 160
PICTURE_BYTES = 4 * 2**20
"""Of all pictures on the page."""
RETURN_BINS = 20
CURVE = "change of the mean return (sum of rewards)"


def read_results(study: Study) -> Results:
    """Everything the study has kept."""
    names = sorted(study.dictionaries(), key=natural)
    folder = study.directory / "dictionaries"
    experiments = study.directory / "experiments"
    places = [
        path.parent.relative_to(experiments).as_posix()
        for path in experiments.glob("**/nudge.json")
    ]
    sizes = sorted(
        (study.directory / "features").glob("sizes-*.json"), key=lambda path: natural(path.name)
    )
    return Results(
        evaluation=study.result("experiments", "evaluate.json"),
        training=study.result("training.json"),
        headers={name: read_header(folder / name) for name in names},
        features=called(study, kept(study, names, "features", "features.json")),
        scores=kept(study, names, "features", "score.json"),
        sweeps=kept(study, names, "experiments", "sweep.json"),
        sizes=[found for path in sizes if (found := study.result("features", path.name))],
        nudges=kept(study, sorted(places, key=natural), "experiments", "nudge.json"),
    )


def kept(study: Study, names: Iterable[str], room: str, file: str) -> dict[str, Document]:
    """One kind of result, by name, where it is there."""
    found = {name: study.result(room, name, file) for name in names}
    return {name: document for name, document in found.items() if document is not None}


def called(study: Study, features: Mapping[str, Document]) -> dict[str, Document]:
    """The same with the labels that count, see `Labels.called`."""
    labels = Labels(study.directory)
    return {
        name: {**table, "features": [with_label(labels, name, card) for card in table["features"]]}
        for name, table in features.items()
    }


def with_label(labels: Labels, name: str, card: Document) -> Document:
    """A feature with the label that counts; beside words alone stays the rule with its scores."""
    rule = card.get("label")
    label = labels.called(name, card["index"], rule)
    if not label or label is rule:
        return card
    if rule and rule["rule"] and not label["rule"]:
        whose = f"the rule and its scores are of “{rule['text']}”"
        words = {key: label[key] for key in ("text", "status", "source")}
        return {
            **card,
            "label": {**rule, **words, "note": "; ".join(filter(None, (label["note"], whose)))},
        }
    return {**card, "label": label}


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sorts k2 before k16."""
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


# --- the agent and its recordings ----------------------------------------------------------------


@dataclass(frozen=True)
class AgentSection:
    """Who acts: its sites, and how its episodes end."""

    inspection: Inspection | None
    problem: str
    """Why the sites could not be listed here."""
    endings: Inline | None


def agent_section(study: Study, results: Results, names: Sequence[str]) -> AgentSection:
    """The agent, as far as this machine can run its environment."""
    inspection, problem, figure = None, "", None
    try:
        inspection = study.inspect()
    except PolicyscopeError as error:
        problem = str(error)
    if results.evaluation is not None and results.evaluation["endings"]:
        figure = charts.stacked_endings({"baseline": results.evaluation["endings"]}, names)
    return AgentSection(inspection, problem, figure)


@dataclass(frozen=True)
class RecordingSection:
    """One recording: what it holds and how its episodes went."""

    recording: Recording
    mean_return: Number | None
    returns: Inline | None
    endings: Inline | None


def recording_section(recording: Recording, names: Sequence[str]) -> RecordingSection:
    """The facts of a recording, and its returns and endings as figures."""
    rewards = [episode.total_reward for episode in recording.episodes]
    if not rewards:
        return RecordingSection(recording, None, None, None)
    low, high = min(rewards), max(rewards)
    width = (high - low) / RETURN_BINS or 1.0
    edges = [low + width * index for index in range(RETURN_BINS + 1)]
    counts = [0] * RETURN_BINS
    for reward in rewards:
        counts[min(int((reward - low) / width), RETURN_BINS - 1)] += 1
    endings: dict[str, int] = {}
    for episode in recording.episodes:
        endings[episode.ending] = endings.get(episode.ending, 0) + 1
    return RecordingSection(
        recording,
        sum(rewards) / len(rewards),
        charts.histogram(edges, counts, "return of an episode (sum of rewards)", "episodes", "ink"),
        charts.stacked_endings({"recorded": endings}, names),
    )


def ending_names(study: Study, results: Results) -> list[str]:
    """Every ending there can be or has been, in the order that fixes their colours."""
    tables = [results.evaluation, *(s["baseline"] for s in results.sweeps.values())]
    tables += [c for s in results.sweeps.values() for c in s["conditions"]]
    seen = {name for t in tables if t for name, count in t.get("endings", {}).items() if count}
    for name in study.recordings():
        seen |= {episode.ending for episode in study.recording(name).episodes}
    expected = [name for name in endings_of(study.environment_id) if name in seen]
    return [*expected, *sorted(seen - set(expected))]


def units(study: Study) -> dict[str, str]:
    """The unit of every metric, as the recordings and the environment have it."""
    found = {metric.name: metric.unit for metric in metrics_of(study.environment_id)}
    for name in study.recordings():
        columns = study.recording(name).header.columns
        found |= {c.name: c.unit for c in columns if c.kind == "metric"}
    return found


# --- the dictionaries ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Layer:
    """The dictionaries between the same two sites, side by side."""

    reads: str
    writes: str
    names: tuple[str, ...]
    loss: tuple[tuple[str, Inline], ...]
    unexplained: tuple[tuple[str, Inline], ...]
    kept: Inline | None
    sizes: Document | None
    penalties: tuple[Document, ...]


def layers(study: Study, results: Results) -> list[Layer]:
    """The dictionaries by the sites they read and write, narrow ones first."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name, header in results.headers.items():
        facts = header["facts"]
        groups.setdefault((str(facts["reads"]), str(facts["writes"])), []).append(name)
    return [layer(study, results, *sites, names) for sites, names in groups.items()]


def layer(study: Study, results: Results, reads: str, writes: str, names: list[str]) -> Layer:
    """What the dictionaries of two sites have in common."""
    names = sorted(names, key=lambda name: (width_of(results, name), natural(name)))
    found = {name: read_curves(study.directory / "dictionaries" / name) for name in names}
    curves = {name: one for name, one in found.items() if one is not None}
    loss = {name: one.loss.tolist() for name, one in curves.items()}
    missed = {name: one.unexplained.tolist() for name, one in curves.items()}
    seeds = {name: notes_of(results, name).get("unexplained_by_seed") or [] for name in names}
    loss_axis = charts.curve_axis(list(loss.values()), "training loss per sample")
    missed_axis = charts.curve_axis([*missed.values(), *seeds.values()], "unexplained (fraction)")
    by_top = {
        name: results.scores[name]["unexplained_by_top_features"]
        for name in names
        if results.scores.get(name, {}).get("unexplained_by_top_features")
    }
    return Layer(
        reads=reads,
        writes=writes,
        names=tuple(names),
        loss=tuple(
            (n, charts.fit_curve(values, loss_axis, "Training loss")) for n, values in loss.items()
        ),
        unexplained=tuple(
            (
                n,
                charts.fit_curve(
                    values, missed_axis, "Unexplained", seeds[n], "at the end of one seed"
                ),
            )
            for n, values in missed.items()
        ),
        kept=charts.kept_curves(by_top, "unexplained (fraction)") if by_top else None,
        sizes=next(
            (s for s in results.sizes if (s["reads"], s["writes"]) == (reads, writes)), None
        ),
        penalties=tuple(row for name in names for row in penalty_rows(results.headers[name])),
    )


def width_of(results: Results, name: str) -> int:
    """How many features a dictionary has."""
    return int(results.headers[name]["choices"].get("width") or 0)


def notes_of(results: Results, name: str) -> Document:
    """What the fit wrote down."""
    return results.headers[name].get("notes") or {}


def penalty_rows(header: Document) -> list[Document]:
    """The penalties that were tried on one dictionary, its own among them; medians over seeds."""
    notes, choices = header.get("notes") or {}, header["choices"]
    tried = list(notes.get("penalties") or ())
    if not tried:
        return []
    own = {
        "width": choices["width"],
        "penalty": choices["penalty"],
        "unexplained": notes["unexplained_median"],
        "l0": median(notes["l0_by_seed"]),
        "dead": median(notes["dead_by_seed"]),
        "chosen": True,
    }
    return sorted([own, *tried], key=lambda row: row["penalty"])


@dataclass(frozen=True)
class DictionarySection:
    """One dictionary: its header and scores, its features, and what steering them does."""

    name: str
    anchor: str
    header: Document
    score: Document | None
    table: Document | None
    sweep: Document | None
    clinearity: Inline | None
    cards: tuple["Card", ...]
    left_out: int
    alphas: tuple[Number, ...]
    verdicts: Mapping[str, int]

    @property
    def notes(self) -> Document:
        """What the fit wrote down."""
        return self.header.get("notes") or {}

    @property
    def alive(self) -> int | None:
        """How many features fire at all; None where nobody looked."""
        if self.table is not None:
            return sum(not card["dead"] for card in self.table["features"])
        width, dead = self.header["choices"].get("width"), self.notes.get("dead")
        return round(width * (1 - dead)) if width and dead is not None else None


def dictionary_section(
    results: Results, name: str, number: int, names: Sequence[str], unit: Mapping[str, str]
) -> DictionarySection:
    """Everything about one dictionary."""
    table, sweep = results.features.get(name), results.sweeps.get(name)
    conditions = sweep["conditions"] if sweep else []
    words = [verdict(condition) for condition in conditions]
    features = shown_features(table, sweep)
    anchor = f"d{number}"
    return DictionarySection(
        name=name,
        anchor=anchor,
        header=results.headers[name],
        score=results.scores.get(name),
        table=table,
        sweep=sweep,
        clinearity=clinearity_figure(results.scores.get(name)),
        cards=tuple(
            card(results, name, anchor, index, names, unit) for index in features[:MOST_CARDS]
        ),
        left_out=max(0, len(features) - MOST_CARDS),
        alphas=tuple(sorted({condition["alpha"] for condition in conditions})),
        verdicts={word: words.count(word) for word in sorted(set(words), key=by_claim)},
    )


def by_claim(word: str) -> tuple[int, str]:
    """Sorts verdicts: the two that claim something first, no effect last."""
    order = {"raises": 0, "lowers": 1, "no effect shown": 3}
    return order.get(word, 2), word


def shown_features(table: Document | None, sweep: Document | None) -> list[int]:
    """The features to show, by number; where they are too many, those steered and best labelled."""
    cards = {card["index"]: card for card in table["features"]} if table else {}
    swept = {condition["feature"] for condition in sweep["conditions"]} if sweep else set()
    every = sorted(cards.keys() | swept)
    if len(every) <= MOST_CARDS:
        return every

    def interest(index: int) -> tuple[bool, Number]:
        label = (cards.get(index) or {}).get("label") or {}
        auroc: Any = label.get("auroc")
        return index in swept, auroc if is_number(auroc) else -1.0

    ranked = sorted(every, key=interest, reverse=True)
    return sorted(ranked[:MOST_CARDS]) + ranked[MOST_CARDS:]


def clinearity_figure(score: Document | None) -> Inline | None:
    """How well single features tell events, against the chance of 0.5."""
    events = (score or {}).get("clinearity") or {}
    estimates = [
        Estimate(
            spoken(event),
            found["accuracy"],
            found["low"],
            found["high"],
            note=f"feature #{found['feature']} {'>' if found['above'] else '≤'} "
            f"{found['threshold']:.3g}, {found['episodes']} held-out episodes",
            color=feature_color(found["feature"]),
        )
        for event, found in events.items()
        if is_number(found["accuracy"]) and is_number(found["threshold"])
    ]
    if not estimates:
        return None
    return charts.dot_intervals(
        estimates,
        "balanced accuracy (fraction; 0.5 is chance)",
        between=(0.4, 1.0),
        line_at=0.5,
        width=520,
    )


# --- one feature ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Card:
    """One feature, with its figures; those without data are None."""

    address: str
    index: int
    anchor: str
    color: str
    facts: Document | None
    stability: tuple[Number, Number] | None
    """Mean matched |cosine| over the other seeds, and the share of them that find it again."""
    descent: str
    doses: tuple[Dose, ...]
    conditions: tuple[Document, ...]
    histogram: Inline | None
    correlations: Inline | None
    effects: Inline | None
    response: Inline | None
    spark: Inline | None
    endings: Inline | None
    courses: tuple[tuple[str, Inline], ...]

    @property
    def label(self) -> Document | None:
        """Its label, if someone tried to give one."""
        return (self.facts or {}).get("label")

    @property
    def is_dead(self) -> bool:
        """Whether it never fired on the recording."""
        return bool((self.facts or {}).get("dead"))


def card(
    results: Results,
    name: str,
    anchor: str,
    index: int,
    names: Sequence[str],
    unit: Mapping[str, str],
) -> Card:
    """The card of feature `index` of dictionary `name`."""
    table, sweep = results.features.get(name), results.sweeps.get(name)
    facts = next((c for c in table["features"] if c["index"] == index), None) if table else None
    found = [c for c in sweep["conditions"] if c["feature"] == index] if sweep else []
    conditions = tuple(sorted(found, key=lambda condition: condition["alpha"]))
    color, doses = feature_color(index), tuple(dose(condition) for condition in conditions)
    alive = facts is not None and not facts["dead"]
    return Card(
        address=f"{name}#{index}",
        index=index,
        anchor=f"{anchor}-f{index}",
        color=color,
        facts=facts,
        stability=stability_of(notes_of(results, name), index),
        descent=descent_of(results, name, index),
        doses=doses,
        conditions=conditions,
        histogram=histogram_of(facts, color) if facts and alive else None,
        correlations=correlation_figure(facts, color) if facts and alive else None,
        effects=effect_figure(facts, color) if facts and alive else None,
        response=charts.dose_response(doses, CURVE, color) if doses else None,
        spark=charts.spark(doses, color, *spark_range(sweep)) if doses else None,
        endings=ending_figure(sweep, conditions, names) if sweep and conditions else None,
        courses=courses(sweep, conditions, unit, color) if sweep and conditions else (),
    )


def dose(condition: Document) -> Dose:
    """One condition of a sweep as a point of a dose–response."""
    return Dose(
        condition["alpha"],
        condition["difference"],
        condition["difference_low"],
        condition["difference_high"],
        condition["random_low"],
        condition["random_high"],
        condition["confirmed"],
        verdict(condition),
    )


def spark_range(sweep: Document | None) -> tuple[Number, Number]:
    """The range that the small dose–responses of one dictionary share."""
    differences = [condition["difference"] for condition in sweep["conditions"]] if sweep else [0.0]
    return min(differences), max(differences)


def stability_of(notes: Document, index: int) -> tuple[Number, Number] | None:
    """How well other seeds find this feature, where that is known."""
    known = notes.get("stability") or {}
    cosine = (known.get("mean_cosine") or [])[index : index + 1]
    again = (known.get("found_again") or [])[index : index + 1]
    if not (cosine and again and is_number(cosine[0]) and is_number(again[0])):
        return None
    return cosine[0], again[0]


def descent_of(results: Results, name: str, index: int) -> str:
    """What became of a feature in the next wider dictionary."""
    for sizes in results.sizes:
        for descent in (sizes.get("descents") or {}).get(name, ()):
            if descent["feature"] == index:
                children = ", ".join(f"#{child}" for child in descent["children"])
                return f"{descent['fate']} {f'as {children}' if children else ''}".strip()
    return ""


def histogram_of(facts: Document, color: str) -> Inline:
    """How often the feature takes which value; logarithmic, so that rare strong firing shows."""
    counts = facts["histogram"]["counts"]
    return charts.histogram(
        facts["histogram"]["edges"], counts, "activation", "steps (logarithmic)", color, log=True
    )


def correlation_figure(facts: Document, color: str) -> Inline | None:
    """Pearson r with every metric."""
    estimates = [
        Estimate(
            spoken(metric),
            c["r"],
            c["low"],
            c["high"],
            note=c["note"] or f"{c['episodes']} episodes",
        )
        for metric, c in facts["correlations"].items()
    ]
    if not estimates:
        return None
    return charts.dot_intervals(estimates, "Pearson r (no unit)", between=(-1.0, 1.0), color=color)


def effect_figure(facts: Document, color: str) -> Inline | None:
    """What the feature does to every action: measured by ablation, and through the weights."""
    effect = facts["action_effect"]
    if not effect or not effect["direct"]:
        return None
    note = f"{effect['states']} states of {effect['episodes']} episodes"
    rows = zip(
        effect["measured"],
        effect["measured_low"],
        effect["measured_high"],
        effect["direct"],
        strict=True,
    )
    estimates = [
        Estimate(f"action {action}", value, low, high, second, note)
        for action, (value, low, high, second) in enumerate(rows)
    ]
    what = f"{effect['output']} (● measured, ◇ direct per unit of activation)"
    return charts.dot_intervals(
        estimates, what, color=color, second="direct per unit of activation"
    )


def ending_figure(sweep: Document, conditions: Sequence[Document], names: Sequence[str]) -> Inline:
    """How episodes ended at every strength, the baseline where strength 0 would be."""
    rows: dict[str, Mapping[str, int]] = {
        f"α {signed(c['alpha'])}": c["endings"] for c in conditions if c["alpha"] < 0
    }
    rows["baseline"] = sweep["baseline"]["endings"]
    rows |= {f"α {signed(c['alpha'])}": c["endings"] for c in conditions if c["alpha"] >= 0}
    return charts.stacked_endings(rows, names)


def courses(
    sweep: Document, conditions: Sequence[Document], unit: Mapping[str, str], color: str
) -> tuple[tuple[str, Inline], ...]:
    """The first episode's course under every strength, for two metrics."""
    played = sweep.get("trajectories") or {}
    baseline = played.get("baseline") or {}
    figures = []
    for metric in chosen_metrics(baseline, unit):
        tracks = [Track(0.0, baseline[metric])]
        for condition in conditions:
            course = played.get(f"{condition['address']} {condition['alpha']:+g}") or {}
            if course.get(metric):
                tracks.append(Track(condition["alpha"], course[metric]))
        label = f"{spoken(metric)} ({unit[metric]})" if unit.get(metric) else spoken(metric)
        figures.append((spoken(metric), charts.trajectories(tracks, label, color)))
    return tuple(figures)


def chosen_metrics(baseline: Mapping[str, Any], unit: Mapping[str, str]) -> list[str]:
    """Two metrics to draw: positions before rates, whose unit is 'per' something."""
    known = [metric for metric, values in baseline.items() if values]
    return sorted(known, key=lambda metric: "/" in unit.get(metric, ""))[:2]


@dataclass(frozen=True)
class Pictures:
    """Small pictures of top moments, by moment, as the page holds them."""

    by_moment: Mapping[str, str]
    problem: str = ""
    """Why stored frames could not be read here."""

    def of(self, facts: Document) -> list[tuple[str, str]]:
        """The pictures there are of one feature's top moments."""
        moments = [top["moment"] for top in facts["top"][:MOST_PICTURES]]
        return [(one, self.by_moment[one]) for one in moments if one in self.by_moment]


def pictures(study: Study, results: Results) -> Pictures:
    """The top moments of the features shown, as far as frames of them were stored and fit in."""
    stored: dict[str, Frames] = {}
    found: dict[str, str] = {}
    left = PICTURE_BYTES
    try:
        for moment in shown_moments(results):
            at = Moment.parse(moment)
            if at.recording not in stored:
                folder = study.directory / "recordings" / at.recording
                stored[at.recording] = Frames.open(folder)
            if (at.episode, at.step) in stored[at.recording]:
                image = stored[at.recording].frame(at.episode, at.step)
                data = base64.b64encode(thumbnail(image, PICTURE_WIDTH)).decode()
                left -= len(data)
                if left < 0:
                    break
                found[moment] = f"data:image/webp;base64,{data}"
    except PolicyscopeError as error:
        return Pictures(found, str(error))
    return Pictures(found)


def shown_moments(results: Results) -> list[str]:
    """The top moments of every feature that gets a card, each once."""
    moments: dict[str, None] = {}
    for name, table in results.features.items():
        shown = set(shown_features(table, results.sweeps.get(name))[:MOST_CARDS])
        for facts in table["features"]:
            if facts["index"] in shown:
                moments |= dict.fromkeys(top["moment"] for top in facts["top"][:MOST_PICTURES])
    return list(moments)


# --- the nudge -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class NudgeSection:
    """One search for a helpful setting, and its best candidates as a figure."""

    place: str
    document: Document
    figure: Inline | None


def nudge_section(place: str, document: Document) -> NudgeSection:
    """The search's candidates by their lower bound, the best on top."""
    best = sorted(document["candidates"], key=lambda c: c["rank"])[:MOST_CANDIDATES]
    estimates = [
        Estimate(
            f"{c['address']} α {signed(c['alpha'])}",
            c["difference"],
            c["low"],
            c["high"],
            note=f"rank {c['rank']}, {document['search_seeds']} search seeds",
            color=feature_color(c["feature"]),
        )
        for c in best
    ]
    figure = charts.dot_intervals(estimates, CURVE, width=620, digits=1) if estimates else None
    return NudgeSection(place, document, figure)
