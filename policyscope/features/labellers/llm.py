"""Labels by a language model: it is shown when a feature fires, and is judged as any rule is.

1. It sees training episodes alone: how the metrics lie over all steps and where the feature fires,
   correlations with intervals, moments at which it fires most, and others at which it is silent,
   half of them next to firing. Beside these, what the feature does to the actions.
2. It answers a label in words and a condition over named metrics. What cannot be used is returned
   to it once, with the reason.
3. The condition is scored on the held-out episodes, as a rule's is. Words without a condition that
   can be tested are kept as a guess without a score, which says so.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from policyscope.chat import LanguageModel, cleaned, said
from policyscope.errors import InvalidInput, NoAnswer, NotEnoughData, PolicyscopeError
from policyscope.features.condition import Condition, Rule
from policyscope.features.correlate import Correlate, Correlation
from policyscope.features.detection import Fired, Judge
from policyscope.features.label import Evidence, Label

SOURCE = "llm"
MOST_METRICS = 20
MOST_CONDITIONS = 4
MOMENTS = 8
"""At which it fires; and as many at which it is silent."""
NEAR = 10
"""Steps from a firing within which silence is said to be next to it."""
LONGEST = 160
LONGEST_WORDS = 100
"""Characters of an answer without JSON that may still be a label."""
RETURNED = 4000
THOUGHT = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|$)", re.DOTALL)
REFUSAL = re.compile(
    r"\W*(?:(?:i\s+am|i['’]m)\s+)?(?:so\s+)?(?:sorry\b|unable\b|not able\b|unfortunately\b)"
    r"|\W*i\s+(?:cannot|can['’]?t|can not|won['’]?t|will not|must decline)\b|\W*as an ai\b",
    re.IGNORECASE,
)
TASK = f"""You say what single features inside a reinforcement-learning agent stand for. A feature \
fires at some steps of an episode and is silent at others. From the evidence, say in a few words \
when it fires, as somebody would who watches the agent, and give a condition on the metrics that \
tells when it fires. The condition is tested on episodes that you do not see. Use the exact names \
of metrics that are listed, and as few conditions as will do, at most {MOST_CONDITIONS}.

Answer with JSON alone:
{{"label": "at most ten words", "condition": [{{"metric": "name", "above": number or null, \
"at_most": number or null}}]}}
An entry holds where above < metric <= at_most; null is no bound. All entries must hold together."""


@dataclass(frozen=True)
class Answer:
    """What a model said of a feature; without a rule, `complaint` says what is wrong."""

    text: str
    rule: Rule | None = None
    complaint: str = ""


class LanguageLabeller:
    """Labels features of one recording by asking a language model; NoAnswer where it gives none.

    `about` says whose features they are and what acts where.
    """

    def __init__(self, evidence: Evidence, model: LanguageModel, about: str = "") -> None:
        self.judge = Judge(evidence)
        self.model = model
        self.about = about

    def label(self, codes: Float[np.ndarray, " step"], effects: str = "") -> Label:
        """The label of the feature whose activations are `codes`; `effects` on actions in words.

        Nobody is asked about a feature that fires too rarely for any label to be tested.
        """
        fired = self.judge.fired(codes)
        if isinstance(fired, Label):
            return fired
        known = self.judge.evidence.names
        talk = [said("system", TASK), said("user", self.prompt(codes, fired, effects))]
        schema = schema_of(known)
        first = self.model.ask(talk, schema=schema)
        answer = read(first, known)
        if answer.complaint:
            talk += [
                said("assistant", first[:RETURNED]),
                said("user", f"{answer.complaint} Answer once more, with the JSON alone."),
            ]
            try:
                answer = better(answer, read(self.model.ask(talk, schema=schema), known))
            except NoAnswer:
                if not answer.text:
                    raise
        if not answer.text:
            raise NoAnswer(
                f"The model's answer is no label: {cleaned(first)!r}. {answer.complaint} Ask it "
                "again, or another model."
            )
        if answer.rule is None:
            unknown = math.nan
            note = f"words alone, not scored: {answer.complaint}"
            return Label(
                answer.text, "", unknown, unknown, unknown, fired.target.text, 0, 0, unknown, note,
                source=SOURCE,
            )  # fmt: skip
        return self.judge.score(answer.text, answer.rule, fired, SOURCE)

    def prompt(self, codes: Float[np.ndarray, " step"], fired: Fired, effects: str = "") -> str:
        """What the model is shown of a feature."""
        evidence = self.judge.evidence
        train = ~evidence.held_out
        metrics, episode = evidence.metrics[train], evidence.episode[train]
        seen = np.asarray(codes[train], np.float64)
        shown = correlations(evidence.names, metrics, seen, episode)[:MOST_METRICS]
        columns = [evidence.names.index(one.metric) for one in shown]
        draw = np.random.default_rng(evidence.seed)
        top = strongest(seen, fired.train, episode)
        silent = contrasts(fired.train, episode, draw)
        lines = [
            self.about,
            f"To fire means: {fired.target.text}. It fires at {fired.train.mean():.2%} of the "
            f"steps; its highest activation is {seen.max():.3g}.",
            "",
            "Metrics: unit; 5 %, 50 % and 95 % quantiles over all steps, then where it fires; "
            "correlation with the activation and its 95 % interval; what its sides are called.",
            *(self.describe(one, metrics, fired.train) for one in shown),
        ]
        if effects:
            lines += ["", f"What its firing does to the actions: {effects}"]
        heading = "activation, " + ", ".join(evidence.names[column] for column in columns)
        for title, rows in (("It fires at", top), ("It does not fire at", silent)):
            lines += ["", f"{title} these steps ({heading}):"]
            for row in rows.tolist():
                values = ", ".join(f"{metrics[row, column]:.4g}" for column in columns)
                lines.append(f"{seen[row]:.3g}, {values}")
        return "\n".join(lines).strip()

    def describe(
        self,
        found: Correlation,
        metrics: Float[np.ndarray, "train metric"],
        fires: Bool[np.ndarray, " train"],
    ) -> str:
        """One line about a metric."""
        evidence = self.judge.evidence
        values = metrics[:, evidence.names.index(found.metric)]
        unit = evidence.units.get(found.metric) or "no unit"
        quantiles = ["/".join(f"{q:.3g}" for q in np.quantile(part, [0.05, 0.5, 0.95]))
                     for part in (values, values[fires])]  # fmt: skip
        line = f"- {found.metric} ({unit}): all {quantiles[0]}; firing {quantiles[1]}"
        if math.isfinite(found.r):
            line += f"; r {found.r:+.2f}"
            if math.isfinite(found.low):
                line += f" [{found.low:+.2f}, {found.high:+.2f}]"
        words = evidence.words.get(found.metric)
        if words is not None:
            low, high = (
                re.sub(r"\s*\{\w+\}", "", side).strip() for side in (words.low, words.high)
            )
            line += f'; below {words.neutral:g} "{low}", above "{high}"'
        return line


def correlations(
    names: Sequence[str],
    metrics: Float[np.ndarray, "step metric"],
    codes: Float[np.ndarray, " step"],
    episode: Int[np.ndarray, " step"],
) -> list[Correlation]:
    """How one feature goes with every metric, the strongest first; unknown of too few episodes."""
    fold = Correlate(names)
    fold.update(codes[:, None], metrics, episode)
    try:
        found = fold.result().of(0)
    except NotEnoughData as error:
        unknown = math.nan
        few = len(np.unique(episode)), len(codes)
        found = [Correlation(0, one, unknown, unknown, unknown, *few, str(error)) for one in names]
    return sorted(found, key=lambda one: -abs(one.r) if math.isfinite(one.r) else 1.0)


def strongest(
    codes: Float[np.ndarray, " step"],
    fires: Bool[np.ndarray, " step"],
    episode: Int[np.ndarray, " step"],
) -> Int[np.ndarray, " moment"]:
    """Steps at which it fires most, the best of each episode before any second of one."""
    steps = np.flatnonzero(fires)
    steps = steps[np.argsort(-codes[steps], kind="stable")]
    _, first = np.unique(episode[steps], return_index=True)
    first = np.sort(first)
    rest = np.setdiff1d(np.arange(len(steps)), first)
    return steps[np.concatenate([first, rest])[:MOMENTS]]


def contrasts(
    fires: Bool[np.ndarray, " step"],
    episode: Int[np.ndarray, " step"],
    draw: np.random.Generator,
) -> Int[np.ndarray, " moment"]:
    """Steps at which it is silent: half of them next to firing, the others anywhere."""
    is_near = np.zeros_like(fires)
    for shift in range(1, NEAR + 1):
        is_same = episode[shift:] == episode[:-shift]
        is_near[shift:] |= fires[:-shift] & is_same
        is_near[:-shift] |= fires[shift:] & is_same
    near = draw.permutation(np.flatnonzero(is_near & ~fires))[: MOMENTS // 2]
    anywhere = draw.permutation(np.setdiff1d(np.flatnonzero(~fires), near))
    return np.concatenate([near, anywhere[: MOMENTS - len(near)]])


# --- the answer ----------------------------------------------------------------------------------


def schema_of(names: Sequence[str]) -> dict[str, Any]:
    """The JSON schema of an answer over these metrics."""
    bound = {"type": ["number", "null"]}
    entry = {"metric": {"type": "string", "enum": list(names)}, "above": bound, "at_most": bound}
    entries = {"type": "array", "items": closed(entry)}
    return closed({"label": {"type": "string"}, "condition": entries})


def closed(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of an object with just these."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def read(answer: str, known: Sequence[str]) -> Answer:
    """What an answer says; NoAnswer for a refusal. What it lacks is in its complaint."""
    answer = THOUGHT.sub("", answer).strip()
    found = find_object(answer)
    text = cleaned(str(found.get("label") or "") if found is not None else answer, LONGEST)
    if REFUSAL.match(text):
        raise NoAnswer(f"The model refused: {text} Another model may not.")
    if found is None:
        is_short = len(answer) <= LONGEST_WORDS and not re.search(r"[{}\n]", answer)
        return Answer(
            text if is_short else "", complaint="That is not the JSON that was asked for."
        )
    if not text:
        return Answer("", complaint="It has no label.")
    try:
        rule = rule_of(found.get("condition", found.get("rule")))
        rule.check(known)
    except PolicyscopeError as error:
        return Answer(text, complaint=str(error))
    return Answer(text, rule)


def better(first: Answer, second: Answer) -> Answer:
    """The answer that can be tested; else the one that says anything."""
    if second.rule is not None or not first.text:
        return second
    return replace(second, text=second.text or first.text)


def find_object(text: str) -> dict[str, Any] | None:
    """The first JSON object in a text that has a label, or failing that the first of all."""
    decoder = json.JSONDecoder()
    others: list[dict[str, Any]] = []
    for start in [match.start() for match in re.finditer(r"\{", text)][:50]:
        try:
            found, _ = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict) and "label" in found:
            return found
        others.append(found)
    return others[0] if others else None


def rule_of(found: Any) -> Rule:
    """The rule in an answer: a list of bounds, or a text; InvalidInput for anything else."""
    if isinstance(found, str):
        return bounded(Rule.parse(found))
    entries = found if isinstance(found, list) else [found]
    if not found or not all(isinstance(one, dict) for one in entries):
        raise InvalidInput("It has no condition that can be tested.")
    return bounded(Rule.of(map(condition_of, entries)))


def bounded(rule: Rule) -> Rule:
    """The rule; InvalidInput where it has more conditions than anybody would call a label."""
    if len(rule.conditions) > MOST_CONDITIONS:
        raise InvalidInput(
            f"It has {len(rule.conditions)} conditions; {MOST_CONDITIONS} are the most."
        )
    return rule


def condition_of(entry: Mapping[str, Any]) -> Condition:
    """One entry of an answer."""
    low, high = (number(entry.get(side)) for side in ("above", "at_most"))
    return Condition(
        str(entry.get("metric")),
        -math.inf if low is None else low,
        math.inf if high is None else high,
    )


def number(found: Any) -> float | None:
    """A finite number, or None for null; InvalidInput for anything else."""
    if found is None:
        return None
    try:
        value = float(found) if not isinstance(found, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        raise InvalidInput(f"{cleaned(str(found), 40)!r} is no bound; expected a number or null.")
    return value
