"""`label`: by rules and by a language model, whatever that answers, and again after it failed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from policyscope import chat
from policyscope.cli import main
from policyscope.errors import InUse, InvalidInput
from policyscope.studies.labels import GivenLabel, Labels
from policyscope.studies.study import Study
from policyscope.testing.chat_server import (
    HANG_UP,
    NEVER,
    ChatServer,
    Planted,
    Reply,
    reply,
    status,
)

NAME = "layer2/k4"
KEY = "sk-planted-key"
SECONDS = 60.0
"""After which a test gives up waiting."""
RIGHT = {"label": "pole leans right", "condition": [{"metric": "pole_angle", "above": 0.0}]}


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "WAITS", ())
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("POLICYSCOPE_LLM_KEY", raising=False)


@pytest.fixture(scope="module")
def described(made_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study whose features were looked at; to be left as it is."""
    study = Path(shutil.copytree(made_study, tmp_path_factory.mktemp("described") / "study"))
    assert main(["features", str(study), NAME]) == 0
    return study


@pytest.fixture
def place(described: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(described, tmp_path / "study"))


@pytest.fixture
def alive(place: Path) -> list[int]:
    """The features that a label can be found for."""
    cards = json.loads((place / "features" / NAME / "features.json").read_text())["features"]
    found = [card["index"] for card in cards if card["label"]["rule"]]
    assert len(found) >= 3, "the fixture's dictionary is dead"
    return found


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer([reply(RIGHT)]) as made:
        yield made


@pytest.fixture
def ask(command, place: Path, server: ChatServer) -> Callable[..., Any]:
    return lambda *words: command("label", place, NAME, "--llm", server.url, "planted", *words)


def test_each_label_is_kept_with_its_score_and_the_model(ask, place, alive, server) -> None:
    ran = ask("--json")
    assert ran.code == 0
    assert [one["index"] for one in ran.document["labels"]] == alive
    assert ran.document["failures"] == []
    assert len(server.requests) == len(alive)
    for index in alive:
        (kept,) = Labels(place).of(NAME, index)
        assert (kept.text, kept.rule) == ("pole leans right", "pole_angle > 0")
        assert (kept.source, kept.author, kept.status) == ("llm", "planted", "guess")
        assert None not in (kept.precision, kept.recall, kept.auroc, kept.base_rate)
        assert kept.recording == "main"
        assert kept.when
    assert KEY not in (place / "labels.jsonl").read_text()
    assert KEY not in ran.out + ran.err


def test_it_is_shown_what_features_found(ask, alive, server) -> None:
    ask("--feature", alive[0])
    prompt = server.requests[0]["messages"][1]["content"]
    assert "CartPole-v1, where its actions are left, right." in prompt
    assert "(change of the logits by it, with 95 % intervals)" in prompt
    assert "- pole_angle (rad): all " in prompt
    assert 'below 0 "' in prompt
    assert KEY not in json.dumps(server.requests)


def test_a_rule_scores_the_same_whoever_found_it(ask, command, place, alive, server) -> None:
    table = command("features", place, NAME, "--json").document["features"]
    rule = table[alive[0]]["label"]
    server.answers = [reply({"label": "as the rule has it", "condition": rule["rule"]})]
    (found,) = ask("--feature", alive[0], "--json").document["labels"]
    for name in ("rule", "precision", "recall", "auroc", "base_rate", "support", "episodes"):
        assert found[name] == rule[name], name


FAILURES: dict[str, tuple[Planted, str]] = {
    "refusal": (reply("I'm sorry, but I can't help with that."), "The model refused"),
    "refusal field": (reply(None, refusal="No."), "The model refused: No."),
    "malformed": (reply('{"label": "po'), "no label"),
    "empty": (reply(""), "said nothing"),
    "half": (reply(RIGHT, cut_at=60), "broke off in the middle of an answer"),
    "no JSON": (Reply(body=b"<html>Bad gateway</html>"), "not JSON"),
    "no chat": (Reply(body=b"{}"), "no chat completion"),
    "hang up": (HANG_UP, "broke off"),
    "400": (status(400, "context is too long"), "context is too long"),
    "401": (status(401, "bad key"), "Is the key in OPENAI_API_KEY the right one?"),
    "404": (status(404, "no such model"), "no such model"),
    "429": (status(429, "slow down"), "fewer requests"),
    "500": (status(500, "oops"), "Run it again later"),
    "redirect": (Reply(307, headers={"location": "http://127.0.0.2/"}), "sends elsewhere"),
    "size": (Reply(body=b" " * 1_000_001), "more than 1,000,000 bytes"),
}


@pytest.mark.parametrize("name", list(FAILURES))
def test_a_failure_is_told_with_its_feature_and_the_others_go_on(
    name: str, ask, place, alive, server
) -> None:
    planted, said = FAILURES[name]
    before = GivenLabel(NAME, alive[1], "as it was", "tested", author="ada")
    Labels(place).add(before)
    good = reply(RIGHT)
    # Some failures are asked about a second time.
    bad = ask_about(alive[1], planted, good, server, place)
    server.answers = [bad]
    ran = ask("--json")
    assert ran.code == 1
    document = json.loads(ran.out)
    (failure,) = document["failures"]
    assert failure["feature"] == f"{NAME}#{alive[1]}"
    assert said in failure["error"]
    assert [one["index"] for one in document["labels"]] == [alive[0], *alive[2:]]
    (line,) = ran.err.strip().splitlines()
    assert line.startswith(f"policyscope: planted gave no label for 1 of 4 features of {NAME}.")
    assert "the same command without --again asks for the missing ones alone" in line
    assert [one.text for one in Labels(place).of(NAME, alive[1])] == ["as it was"]
    assert KEY not in ran.out + ran.err
    # Mended, it asks for the one that is missing and leaves the others.
    server.answers, asked = [good], len(server.requests)
    again = ask("--json").document
    assert len(server.requests) == asked + 1
    assert [one["index"] for one in again["labels"]] == [alive[1]]
    assert again["there_already"] == [alive[0], *alive[2:]]
    assert Labels(place).called(NAME, alive[1])["text"] == "as it was"


def ask_about(
    index: int, planted: Planted, good: Reply, server: ChatServer, place: Path
) -> Planted:
    """Answers with `planted` whenever the second feature is asked about."""
    assert isinstance(planted, Reply)
    firsts: list[str] = []

    def answer(document: dict[str, Any]) -> Reply:
        prompt = document["messages"][1]["content"]
        if prompt not in firsts:
            firsts.append(prompt)
        return planted if firsts.index(prompt) == 1 else good

    return answer


def test_what_stays_wrong_is_not_tried_with_every_feature(ask, alive, server) -> None:
    server.answers = [status(401)]
    dead = sorted({0, 1, 2, 3} - set(alive))
    ran = ask("--feature", *alive[:2], *dead, *alive[2:], "--json")
    assert ran.code == 1
    states = [one["state"] for one in json.loads(ran.out)["failures"]]
    assert states == ["failed"] * 3 + ["not asked"] * (len(alive) - 3)
    assert len(server.requests) == 3


def test_what_is_there_is_asked_for_again_only_if_wanted(ask, place, alive, server) -> None:
    ask()
    asked = len(server.requests)
    assert ask("--json").document["there_already"] == alive
    assert len(server.requests) == asked
    server.answers = [reply({**RIGHT, "label": "leaning"})]
    ask("--again", "--feature", alive[0])
    assert [one.text for one in Labels(place).of(NAME, alive[0])] == ["pole leans right", "leaning"]


def test_another_fit_of_the_dictionary_is_labelled_anew(ask, command, place, server) -> None:
    ask()
    fit = ("--reads", "fc2:in", "--writes", "fc3:in", "--seeds", 1, "--epochs", 2, "--seed", 7)
    command("fit", place, *fit, "--name", NAME, "relu", "--width", 4)
    assert "Nobody has looked at the features" in ask().complaint
    command("features", place, NAME)
    asked = len(server.requests)
    assert ask("--json").document["there_already"] == []
    assert len(server.requests) > asked


def test_words_alone_are_kept_and_say_so(ask, place, alive, server) -> None:
    server.answers = [reply("the pole leans right")]
    ran = ask("--feature", alive[0])
    assert ran.code == 0
    assert "words alone, not scored" in ran.out
    (kept,) = Labels(place).of(NAME, alive[0])
    assert (kept.text, kept.rule, kept.auroc) == ("the pole leans right", "", None)


def test_an_interruption_keeps_what_is_there(ask, place, alive, server, monkeypatch) -> None:
    given = Labels.add

    def interrupted(self: Labels, label: GivenLabel, revision: int | None = None) -> None:
        if label.index == alive[2]:
            raise KeyboardInterrupt
        given(self, label, revision)

    with monkeypatch.context() as patch:
        patch.setattr(Labels, "add", interrupted)
        ran = ask()
    assert ran.code == 130
    assert "The same command goes on with what is missing." in ran.err
    assert all(Labels(place).of(NAME, index) for index in alive[:2])
    assert ask("--json").document["there_already"] == alive[:2]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--llm", "localhost:1/v1", "m"), 1, "no URL of a chat server"),
        (("--llm", "http://localhost:1/v1", ""), 1, "No model is named"),
        (("--llm", "http://localhost:1/v1"), 2, "expected 2 arguments"),
        (("--llm", "http://localhost:1/v1", "m", "--timeout", "0"), 1, "timeout is 0"),
        (("--llm", "http://localhost:1/v1", "m", "--feature", "9"), 1, "No feature 9"),
        (("--llm", "http://localhost:1/v1", "m", "--at-once", "0"), 1, "at_once is 0"),
    ],
)
def test_what_cannot_be_asked_is_said_before_anything_is_sent(
    command, place, words: tuple[str, ...], code: int, said: str
) -> None:
    ran = command("label", place, NAME, *words)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert not (place / "labels.jsonl").exists()


def test_features_must_have_been_looked_at(command, study: Path, server: ChatServer) -> None:
    ran = command("label", study, NAME, "--llm", server.url, "planted")
    assert f"Run: policyscope features {study} {NAME}" in ran.complaint
    assert server.requests == []


def test_two_do_not_ask_for_the_same(place: Path, server: ChatServer) -> None:
    study = Study.open(place)
    with study.writing("labels", [NAME]), pytest.raises(InUse, match="being written by process"):
        study.label(NAME, llm=(server.url, "planted"))
    assert server.requests == []


def test_by_rules_without_a_model(command, place: Path, alive: list[int]) -> None:
    found = command("label", place, NAME, "--json").document
    assert found["labeller"] == "rules"
    assert [one["index"] for one in found["labels"]] == alive
    table = command("features", place, NAME, "--json").document["features"]
    for one in found["labels"]:
        assert one["rule"] == table[one["index"]]["label"]["rule"]
        assert Labels(place).of(NAME, one["index"])[0].source == "rules"


def test_from_python(place: Path, alive: list[int], server: ChatServer) -> None:
    found = Study.open(place).label(NAME, llm=(server.url, "planted"), features=alive[:2])
    assert [one.state for one in found.attempts] == ["labelled"] * 2
    assert "pole leans right" in str(found)
    with pytest.raises(InvalidInput, match="a URL and a name"):
        Study.open(place).label(NAME, llm=(server.url,))


def test_several_are_asked_about_at_once(ask, place, alive, server) -> None:
    together = threading.Barrier(2)

    def answer(document: dict[str, Any]) -> Reply:
        # Each waits for another: one after the other they would never be answered.
        together.wait(SECONDS)
        return reply(RIGHT)

    server.answers = [answer]
    found = ask("--feature", *alive[:2], "--at-once", 2, "--json").document
    assert [one["index"] for one in found["labels"]] == alive[:2]
    assert server.most_at_once == 2
    assert all(Labels(place).of(NAME, index) for index in alive[:2])


def test_of_several_at_once_the_rest_is_not_asked_about_where_all_fail(ask, alive, server) -> None:
    server.answers = [status(401)]
    ran = ask("--at-once", 2, "--json")
    assert ran.code == 1
    failures = json.loads(ran.out)["failures"]
    assert [one["index"] for one in failures] == alive
    assert [one["state"] for one in failures].count("failed") == 3
    assert len(server.requests) <= len(alive)


@pytest.mark.slow
def test_ctrl_c_while_the_model_thinks(place: Path, alive: list[int], server: ChatServer) -> None:
    is_thinking = threading.Event()

    def think(document: dict[str, Any]) -> Reply:
        if len(server.requests) < 3:
            return reply(RIGHT)
        is_thinking.set()
        return NEVER

    server.answers = [think]
    words = ("label", str(place), NAME, "--llm", server.url, "planted")
    process = subprocess.Popen(
        [sys.executable, "-m", "policyscope.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "NO_PROGRESS": "1"},
    )
    try:
        assert is_thinking.wait(120)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, out) == (130, "")
    assert err.strip().endswith("The same command goes on with what is missing.")
    assert "Traceback" not in err
    labelled = [index for index in alive if Labels(place).of(NAME, index)]
    assert labelled == alive[:2]
