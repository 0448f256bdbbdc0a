"""Asking a language model over a real socket, with every failure planted."""

import socket
from collections.abc import Iterator

import pytest

from policyscope.chat import LONGEST_WAIT, LanguageModel, cleaned, key_for, parse, said
from policyscope.errors import InvalidInput, NoAnswer
from policyscope.testing.chat_server import (
    HANG_UP,
    NEVER,
    TRICKLE,
    ChatServer,
    Reply,
    reply,
    status,
)

KEY = "sk-planted-key"
TALK = [said("system", "Be short."), said("user", "What is it?")]


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("POLICYSCOPE_LLM_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer([reply("a pole")]) as made:
        yield made


@pytest.fixture
def waited() -> list[float]:
    return []


@pytest.fixture
def model(server: ChatServer, waited: list[float]) -> LanguageModel:
    return LanguageModel(server.url, "planted", seconds=20.0, sleep=waited.append)


def test_it_asks_as_the_protocol_says(model: LanguageModel, server: ChatServer) -> None:
    schema = {"type": "object"}
    assert model.ask(TALK, schema=schema) == "a pole"
    (asked,) = server.requests
    assert (asked["model"], asked["messages"], asked["stream"]) == ("planted", TALK, False)
    assert asked["response_format"]["json_schema"]["schema"] == schema
    assert server.paths == ["/v1/chat/completions"]
    assert "authorization" not in server.headers[0]


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("http://localhost:8000", "/v1/chat/completions"),
        ("http://localhost:8000/", "/v1/chat/completions"),
        ("https://api.example.org/openai/v1/", "/openai/v1/chat/completions"),
        ("http://[::1]:1/v1/chat/completions", "/v1/chat/completions"),
    ],
)
def test_a_url_is_taken_as_clients_write_it(url: str, path: str) -> None:
    assert parse(url).path == path


@pytest.mark.parametrize(
    ("url", "name", "said"),
    [
        ("", "m", "no URL of a chat server"),
        ("localhost:8000", "m", "no URL of a chat server"),
        ("ftp://localhost/v1", "m", "no URL of a chat server"),
        ("file:///etc/passwd", "m", "no URL of a chat server"),
        ("http://", "m", "no URL of a chat server"),
        ("http://localhost:port/v1", "m", "no URL of a chat server"),
        ("http://localhost:99999/v1", "m", "no URL of a chat server"),
        ("http://a..b/v1", "m", "no URL of a chat server"),
        ("http://[::1/v1", "m", "no URL of a chat server"),
        ("http://me:secret@localhost/v1", "m", "POLICYSCOPE_LLM_KEY"),
        ("http://localhost/v1?key=secret", "m", "no spaces, ? or #"),
        ("http://localhost/v1\nhost: other", "m", "no spaces, ? or #"),
        ("http://localhost/v1", " ", "No model is named"),
        ("http://localhost/v1", "m\x1b[31m", "No model is named"),
    ],
)
def test_what_cannot_be_asked_is_refused_at_once(url: str, name: str, said: str) -> None:
    with pytest.raises(InvalidInput) as error:
        LanguageModel(url, name)
    assert said in str(error.value)
    assert "secret" not in str(error.value)


# --- the key -------------------------------------------------------------------------------------


def test_the_key_comes_from_the_environment(
    model: LanguageModel, server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-usual")
    model.ask(TALK)
    monkeypatch.setenv("POLICYSCOPE_LLM_KEY", KEY)
    model.ask(TALK)
    assert [one["authorization"] for one in server.headers] == ["Bearer sk-usual", f"Bearer {KEY}"]


def test_the_usual_key_is_not_sent_where_others_can_read_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-usual")
    assert key_for(parse("https://api.example.org/v1")) == "sk-usual"
    assert key_for(parse("http://127.0.0.1:1/v1")) == "sk-usual"
    assert key_for(parse("http://gpu01:8000/v1")) is None
    monkeypatch.setenv("POLICYSCOPE_LLM_KEY", KEY)
    assert key_for(parse("http://gpu01:8000/v1")) == KEY


def test_the_key_is_in_nothing_that_is_said(
    model: LanguageModel, server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert KEY not in repr(model)
    server.answers = [status(401, f"Incorrect API key provided: {KEY}.")]
    with pytest.raises(NoAnswer, match="OPENAI_API_KEY") as error:
        model.ask(TALK)
    assert KEY not in str(error.value)
    server.answers = [Reply(body=f"<h1>{KEY}</h1>".encode())]
    with pytest.raises(NoAnswer, match="not JSON") as error:
        model.ask(TALK)
    assert KEY not in str(error.value)


def test_a_key_with_a_line_break_is_refused_without_being_shown(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\nhost: other")
    with pytest.raises(InvalidInput, match="OPENAI_API_KEY holds cannot be a key") as error:
        LanguageModel(server.url, "m")
    assert KEY not in str(error.value)


def test_no_redirect_is_followed(
    model: LanguageModel, server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with ChatServer([reply("caught")]) as other:
        for code in (301, 302, 307, 308):
            server.answers = [Reply(code, headers={"location": f"{other.url}/chat/completions"})]
            with pytest.raises(NoAnswer, match=f"sends elsewhere .{code}, to {other.url}"):
                model.ask(TALK)
        assert other.requests == []


# --- what passes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "planted",
    [status(429), status(500), status(503), HANG_UP, reply("half of it", cut_at=40)],
    ids=["429", "500", "503", "hang up", "cut"],
)
def test_what_passes_is_tried_again_after_a_growing_wait(
    model: LanguageModel, server: ChatServer, waited: list[float], planted: Reply
) -> None:
    server.answers = [planted, planted, reply("at last")]
    assert model.ask(TALK) == "at last"
    assert waited == [1.0, 2.0]


def test_it_gives_up_after_four(
    model: LanguageModel, server: ChatServer, waited: list[float]
) -> None:
    server.answers = [status(503, "overloaded")]
    with pytest.raises(NoAnswer, match=r"answered 503: overloaded\. Run it again later") as error:
        model.ask(TALK)
    assert (len(server.requests), waited) == (4, [1.0, 2.0, 4.0])
    assert error.value.lasts


def test_it_waits_as_long_as_it_is_asked_to_but_not_for_ever(
    model: LanguageModel, server: ChatServer, waited: list[float]
) -> None:
    server.answers = [status(429, Retry_After="7"), reply("at last")]
    assert model.ask(TALK) == "at last"
    assert waited == [7.0]
    server.answers = [status(429, "quota", Retry_After=str(int(LONGEST_WAIT) + 1))]
    with pytest.raises(NoAnswer, match=r"quota\. It wants fewer requests"):
        model.ask(TALK)
    assert waited == [7.0]


def test_wishes_that_a_server_does_not_know_are_left_out(
    model: LanguageModel, server: ChatServer
) -> None:
    server.answers = [status(400, "response_format is not supported"), reply("plain")]
    assert model.ask(TALK, schema={}) == "plain"
    assert model.ask(TALK, schema={}) == "plain"
    first, *plain = server.requests
    assert {"temperature", "response_format"} <= first.keys()
    assert [one.keys() for one in plain] == [{"model", "messages", "stream"}] * 2


# --- what does not -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("planted", "said", "lasts"),
    [
        (status(400, "too long"), "answered 400: too long", False),
        (status(401), "Put its key in POLICYSCOPE_LLM_KEY", True),
        (status(403), "Put its key in POLICYSCOPE_LLM_KEY", True),
        (status(404), "Does it have a model 'planted'", True),
        (Reply(404, b"<html>nothing here</html>"), "nothing here", True),
        (Reply(418), "answered 418.", True),
        (Reply(body=b""), "not JSON", False),
        (Reply(body=b"<html>"), "mostly ends in /v1", False),
        (Reply(body=b"[" * 100_000), "not JSON", False),
        (Reply(body=b"[]"), "no chat completion", False),
        (Reply(body=b'{"choices": []}'), "no chat completion", False),
        (Reply(body=b'{"choices": [{"message": "hi"}]}'), "no chat completion", False),
        (Reply(body=b'{"error": {"message": "out of memory"}}'), "out of memory", False),
        (reply(None), "said nothing", False),
        (reply(" \n"), "said nothing", False),
        (reply("half", reason="length"), "cut at its limit of tokens", False),
        (reply("", reason="content_filter"), "refused: content_filter", False),
        (reply(None, refusal="I will not."), "refused: I will not", False),
        (Reply(body=b'"' + b"x" * 1_000_001 + b'"'), "more than 1,000,000 bytes", False),
    ],
)
def test_what_does_not_pass_is_said_at_once(
    model: LanguageModel,
    server: ChatServer,
    waited: list[float],
    planted: Reply,
    said: str,
    lasts: bool,
) -> None:
    server.answers = [planted]
    with pytest.raises(NoAnswer) as error:
        model.ask(TALK)
    assert said in str(error.value)
    assert error.value.lasts is lasts
    assert waited == []


@pytest.mark.parametrize("planted", [NEVER, TRICKLE], ids=["never", "trickle"])
def test_no_answer_may_take_longer_than_it_is_given(server: ChatServer, planted: Reply) -> None:
    server.answers = [planted]
    with pytest.raises(NoAnswer, match=r"no answer within 0\.3 s") as error:
        LanguageModel(server.url, "slow", seconds=0.3).ask(TALK)
    assert error.value.lasts


def test_a_server_that_is_not_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(NoAnswer, match="cannot be reached: Connection refused"):
            LanguageModel(f"http://127.0.0.1:{port}/v1", "m").ask(TALK)


def test_plain_http_where_https_is_asked_for(server: ChatServer) -> None:
    model = LanguageModel(server.url.replace("http:", "https:"), "m", seconds=5.0)
    with pytest.raises(NoAnswer, match="cannot be reached"):
        model.ask(TALK)


def test_words_from_elsewhere_do_nothing_to_a_terminal() -> None:
    assert cleaned("a\x1b[2J b\r\n\tc\u202e\ud800") == "a [2J b c"
    assert len(cleaned("word " * 1000, 50)) <= 50
