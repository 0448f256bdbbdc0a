"""A verb is the same three times: a plain function, a Study method and a command."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import pytest

from policyscope import cli
from policyscope.dictionaries.file import export_source
from policyscope.dictionaries.fit import fit
from policyscope.dictionaries.hub import pull, push
from policyscope.dictionaries.saelens import import_saelens
from policyscope.dictionaries.schedule import Schedule
from policyscope.experiments.compare import evaluate
from policyscope.experiments.push import find_nudge
from policyscope.experiments.sweep import sweep
from policyscope.features.describe import describe
from policyscope.features.labelling import label
from policyscope.rollouts.record import record_rollout
from policyscope.rollouts.replay import record_frames
from policyscope.scores.score import score
from policyscope.scores.side_by_side import compare_dictionaries
from policyscope.studies.inspection import inspect as inspect_agent
from policyscope.studies.report import write_report
from policyscope.studies.study import Study

FROM_THE_STUDY = {
    "agent", "make_environment", "recording", "directory", "metrics", "observations",
    "states", "about_agent", "held_out", "study",
}  # fmt: skip
"""What a Study knows, and a plain function must be given."""
EPISODES = {"seeds": "episodes", "search_seeds": "episodes", "confirm_seeds": "confirm"}
"""A study counts episodes and picks their seeds itself, so that no two purposes share any."""
DIRECTIONS = {"random": "random_directions"}
ONLY_SPOKEN = {"study", "json", "command", "kind", "open", "help", "trust"}
"""What only a command line needs."""


@dataclass(frozen=True)
class Verb:
    """One verb in its three forms; `names` maps those of the plain function to the Study's."""

    command: str
    plain: Callable[..., Any]
    names: Mapping[str, str] = field(default_factory=dict)
    plain_only: frozenset[str] = frozenset()
    study_only: frozenset[str] = frozenset()
    retyped: frozenset[str] = frozenset()

    @property
    def method(self) -> Callable[..., Any]:
        return getattr(Study, METHODS.get(self.command, self.command))


METHODS = {
    "import": "import_dictionary",  # Python keeps the word for itself
    "compare": "compare_dictionaries",  # Study.compare is of interventions
}
VERBS = [
    Verb("record", record_rollout, study_only=frozenset({"name"})),
    Verb("frames", record_frames, study_only=frozenset({"dictionary"})),
    Verb(
        "fit",
        fit,
        # A study takes the parts of a schedule by name.
        plain_only=frozenset({"x", "y", "schedule", "data_seed", "held_out", "checkpoint"}),
        study_only=frozenset(
            {"reads", "writes", "name", "penalties", "balance", "online", "resume", "schedule"}
        ),
        # A plain fit takes what errors do; a study finds it out, and takes what they count for.
        retyped=frozenset({"behaviour"}),
    ),
    Verb("features", describe),
    Verb(
        "label",
        label,
        plain_only=frozenset({"known", "about", "actions", "keep"}),
        study_only=frozenset({"again", "timeout"}),
    ),
    Verb("score", score, EPISODES),
    Verb(
        "compare",
        compare_dictionaries,
        plain_only=frozenset({"scores"}),
        study_only=frozenset({"episodes", "deterministic", "recording", "seed"}),
    ),
    Verb("evaluate", evaluate, EPISODES),
    Verb("sweep", sweep, {**EPISODES, **DIRECTIONS}, study_only=frozenset({"dictionary"})),
    Verb(
        "nudge",
        find_nudge,
        {**EPISODES, **DIRECTIONS},
        plain_only=frozenset({"keep"}),
        study_only=frozenset({"dictionary"}),
    ),
    Verb("export", export_source, {"path": "out"}, study_only=frozenset({"format"})),
    Verb("report", write_report),
    Verb(
        "import",
        import_saelens,
        {"directory": "source"},
        study_only=frozenset({"reads", "writes", "name"}),
    ),
    Verb(
        "push",
        push,
        {"repo_id": "repo"},
        plain_only=frozenset({"directory", "card", "token", "endpoint"}),
        study_only=frozenset({"dictionary"}),
    ),
    Verb(
        "pull",
        pull,
        {"repo_id": "repo"},
        plain_only=frozenset({"directory", "token", "endpoint", "cache"}),
        study_only=frozenset({"name"}),
    ),
]


def parameters(function: Callable[..., Any]) -> dict[str, Any]:
    """Names and defaults, without self."""
    every = inspect.signature(function).parameters
    return {name: one.default for name, one in every.items() if name != "self"}


def flags(command: str) -> dict[str, Any]:
    """The arguments of a command by the name they arrive under, and their defaults."""
    words = ["fit", "s", "--reads", "a", "--writes", "b", "relu"] if command == "fit" else [command]
    parser = cli.build_parser(words)
    sub = parser._subparsers._group_actions[0].choices[command]  # type: ignore[union-attr,index]
    return {one.dest: one.default for one in sub._actions if one.dest not in ONLY_SPOKEN}


def same(one: Any, other: Any) -> bool:
    """Whether two defaults mean the same: a list and a tuple do, and False and an absent flag."""
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return list(one) == list(other)
    return one == other


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.command)
def test_command_and_method_take_the_same(verb: Verb) -> None:
    spoken, written = flags(verb.command), parameters(verb.method)
    if verb.command == "fit":
        written.pop("dictionary")  # KIND and its own flags
        spoken.pop("search")  # see below
        written.pop("schedule")
        written |= {one.name: None for one in fields(Schedule)}
    # --seed is there for every command, the few without randomness included.
    assert spoken.keys() == written.keys() | {"seed"}
    for name, default in written.items():
        if default is not inspect.Parameter.empty:
            assert same(spoken[name], default), name


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.command)
def test_method_and_plain_function_take_the_same(verb: Verb) -> None:
    plain, written = parameters(verb.plain), parameters(verb.method)
    expected = {
        verb.names.get(name, name): default
        for name, default in plain.items()
        if name not in verb.plain_only and verb.names.get(name, name) not in FROM_THE_STUDY
    }
    known = {name for name in written if name not in {*verb.study_only, *FROM_THE_STUDY}}
    assert known == expected.keys()
    for name, default in expected.items():
        # Where the plain function has no default, the study may.
        if default is not inspect.Parameter.empty and name not in verb.retyped:
            assert same(written[name], default), name


def test_a_search_takes_what_its_method_takes() -> None:
    words = ["fit", "s", "--reads", "a", "--writes", "b", "--search"]
    sub = cli.build_parser(words)._subparsers._group_actions[0].choices["fit"]  # type: ignore[union-attr,index]
    spoken = {one.dest: one.default for one in sub._actions if one.dest not in ONLY_SPOKEN}
    written = parameters(Study.search)
    written.pop("schedule")
    written |= {one.name: None for one in fields(Schedule)}
    assert spoken.keys() - {"search"} == written.keys()
    for name, default in written.items():
        if default is not inspect.Parameter.empty:
            assert same(spoken[name], default), name


def test_new_is_create() -> None:
    assert flags("new").keys() | {"directory", "trust"} == parameters(Study.create).keys()


def test_inspect_takes_an_agent_and_where_it_acts() -> None:
    assert flags("inspect").keys() - {"seed"} | {"trust"} == parameters(inspect_agent).keys()


def test_every_command_is_a_verb_or_needs_no_study() -> None:
    verbs = {verb.command for verb in VERBS}
    assert cli.COMMANDS.keys() == verbs | {
        "demo",
        "zoo",
        "inspect",
        "new",
        "studio",
        "bench",
        "doctor",
    }
