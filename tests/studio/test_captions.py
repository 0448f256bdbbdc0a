"""Captions by a language model: play never waits for them, whatever the model does or does not."""

import json
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from policyscope.chat import LanguageModel
from policyscope.errors import NoAnswer
from policyscope.studies.study import Study
from policyscope.studio.captions import Captions, Rephraser
from policyscope.studio.live import Session
from policyscope.studio.server import explain_model
from policyscope.testing.chat_server import HANG_UP, NEVER, ChatServer, reply, status

NAME = "layer2/k4"
SECONDS = 60.0
"""After which a test gives up waiting."""


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer([reply("The pole leans right, so it pushes right.")]) as made:
        yield made


@pytest.fixture
def rephrase(server: ChatServer) -> Rephraser:
    return Rephraser(LanguageModel(server.url, "planted"), "CartPole-v1")


class Slow:
    """Says words again only when it is let; counts how many are under way."""

    def __init__(self) -> None:
        self.asked: queue.Queue[str] = queue.Queue()
        self.answers: queue.Queue[str | Exception] = queue.Queue()
        self.at_once = self.most_at_once = 0

    def __call__(self, words: str) -> str:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.asked.put(words)
        answer = self.answers.get(timeout=SECONDS)
        self.at_once -= 1
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def slow() -> Iterator[Slow]:
    made = Slow()
    yield made
    for _ in range(8):
        made.answers.put("the test is over")


@pytest.fixture
def told() -> queue.Queue[dict[str, Any]]:
    return queue.Queue()


@pytest.fixture
def make(slow: Slow, told: queue.Queue[dict[str, Any]]) -> Iterator[Callable[..., Captions]]:
    made: list[Captions] = []
    turn = threading.Lock()

    def begin() -> Captions:
        made.append(Captions(slow, lambda **said: told.put(said), turn, pauses=(0.0,)))
        return made[-1]

    yield begin
    for one in made:
        one.close()


def test_only_the_newest_words_are_asked_about(make, slow: Slow, told) -> None:
    captions = make()
    captions.ask("first", 0)
    assert slow.asked.get(timeout=SECONDS) == "first"
    for step in range(1, 100):
        captions.ask(f"words {step}", step)
    assert slow.asked.empty()
    slow.answers.put("The first.")
    assert told.get(timeout=SECONDS) == {"type": "caption", "text": "The first.", "for_step": 0}
    assert slow.asked.get(timeout=SECONDS) == "words 99"
    slow.answers.put("The last.")
    assert told.get(timeout=SECONDS)["for_step"] == 99


def test_one_is_under_way_at_a_time_for_all_pages(make, slow: Slow, told) -> None:
    pages = [make() for _ in range(4)]
    for number, page in enumerate(pages):
        page.ask(f"page {number}", number)
    for _ in pages:
        slow.asked.get(timeout=SECONDS)
        assert slow.asked.empty()
        slow.answers.put("Yes.")
    steps = {told.get(timeout=SECONDS)["for_step"] for _ in pages}
    assert (steps, slow.most_at_once) == ({0, 1, 2, 3}, 1)


def test_an_error_is_told_once_and_what_comes_after_it_again(make, slow: Slow, told) -> None:
    captions = make()
    for step in range(3):
        captions.ask(f"words {step}", step)
        slow.asked.get(timeout=SECONDS)
        slow.answers.put(NoAnswer("It is not there."))
    captions.ask("words 3", 3)
    slow.asked.get(timeout=SECONDS)
    slow.answers.put("It is back.")
    error = told.get(timeout=SECONDS)
    assert (error["type"], error["text"], error["error"]) == ("caption", "", "It is not there.")
    assert told.get(timeout=SECONDS)["text"] == "It is back."
    captions.ask("words 4", 4)
    slow.asked.get(timeout=SECONDS)
    slow.answers.put(NoAnswer("Gone again."))
    assert told.get(timeout=SECONDS)["error"] == "Gone again."


def test_an_answer_that_comes_after_the_end_is_dropped(make, slow: Slow, told) -> None:
    gone, here = make(), make()
    gone.ask("gone", 1)
    assert slow.asked.get(timeout=SECONDS) == "gone"
    gone.close()
    here.ask("here", 2)
    slow.answers.put("Too late.")
    slow.answers.put("In time.")
    assert told.get(timeout=SECONDS)["text"] == "In time."
    assert told.empty()


def test_a_model_says_it_as_a_sentence(rephrase: Rephraser, server: ChatServer) -> None:
    server.answers = [reply('<think>hm</think>\n"It pushes\x1b right."')]
    assert rephrase("pole right (0.83) → pushing right") == "It pushes right."
    system, user = server.requests[0]["messages"]
    assert "CartPole-v1" in system["content"]
    assert user["content"] == "pole right (0.83) → pushing right"


@pytest.mark.parametrize("planted", [status(500), HANG_UP, reply(""), reply("I'm sorry, no.")])
def test_a_caption_is_asked_for_once(rephrase: Rephraser, server: ChatServer, planted) -> None:
    server.answers = [planted]
    with pytest.raises(NoAnswer):
        rephrase("words")
    assert len(server.requests) == 1


@pytest.fixture
def session(own_study: Study, rephrase: Rephraser) -> Iterator[tuple[Session, Callable[[], Any]]]:
    sent: queue.Queue[bytes | str] = queue.Queue()

    def heard() -> Any:
        message = sent.get(timeout=SECONDS)
        return json.loads(message) if isinstance(message, str) else message

    made = Session(own_study, sent.put, rephrase)
    yield made, heard
    made.close()


def test_a_server_that_never_answers_does_not_slow_the_loop(session, server: ChatServer) -> None:
    server.answers = [NEVER]
    made, heard = session
    made.take(json.dumps({"type": "start", "dictionary": NAME, "seed": 3, "fps": 0.001}))
    made.take(json.dumps({"type": "explain", "llm": True}))
    assert heard()["type"] == "hello"
    steps = 0
    while steps < 15:
        made.take(json.dumps({"type": "step", "count": 1}))
        made.take(json.dumps({"type": "ack", "n": 10_000}))
        while not isinstance(heard(), bytes):
            pass
        steps = made.play.live.step
    assert steps >= 15
    assert len(server.requests) <= 1
    assert server.most_at_once <= 1
    # Starting again, which begins captions anew, leaves the one request the only one.
    for _ in range(3):
        made.take(json.dumps({"type": "start", "dictionary": NAME, "fps": 0.001}))
        made.take(json.dumps({"type": "explain", "llm": True}))
    made.take(json.dumps({"type": "rewind", "step": 99}))
    while True:
        said = heard()
        if isinstance(said, dict) and said["type"] == "error":
            break
    assert server.most_at_once <= 1


def test_captions_come_while_it_plays(session, server: ChatServer) -> None:
    made, heard = session
    made.take(json.dumps({"type": "start", "dictionary": NAME, "seed": 3, "fps": 0.001}))
    made.take(json.dumps({"type": "explain", "llm": True}))
    made.take(json.dumps({"type": "step", "count": 2}))
    while not (isinstance(said := heard(), dict) and said["type"] == "caption"):
        pass
    assert said["text"] == "The pole leans right, so it pushes right."


# --- the server ----------------------------------------------------------------------------------


def test_without_a_model_there_is_none_to_ask(client) -> None:
    assert client.get("/api/model").document == {"name": None, "server": None}
    wanted = {"verb": "label", "arguments": {"dictionary": NAME}}
    refused = client.post("/api/jobs", wanted)
    assert (refused.status, "--llm" in refused.error) == (400, True)


def test_a_page_learns_the_model_and_where_it_is_and_never_the_key(
    serving, own_study: Study, server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-key")
    model = LanguageModel(server.url, "planted")
    with serving(own_study, model=model) as client:
        told = client.get("/api/model").document
    assert told == {"name": "planted", "server": model.server}
    assert server.requests == []


def test_the_studio_says_what_leaves_it(capsys: pytest.CaptureFixture[str]) -> None:
    explain_model(LanguageModel("https://api.example.org/v1", "planted"))
    said = capsys.readouterr().err
    assert "planted at https://api.example.org is asked where a page asks for it" in said
    assert "Nothing else is sent to anybody." in said
