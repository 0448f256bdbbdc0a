"""Asking a language model: any server that speaks OpenAI's chat completions, with the stdlib alone.

    POST URL/chat/completions   {"model", "messages", …}  ->  choices[0].message.content

The key comes from the environment and goes to the server that was named and nowhere else: no
redirect is followed, and no message of ours holds it. An answer is bounded in time and in size.
What passes (429, 5xx, a dropped connection) is tried again after a growing wait.
"""

import http.client
import json
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, urlsplit

from policyscope.errors import InvalidInput, NoAnswer

OWN_KEY, USUAL_KEY = "POLICYSCOPE_LLM_KEY", "OPENAI_API_KEY"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
PATH = "/chat/completions"
SECONDS = 120.0
SECONDS_TO_CONNECT = 15.0
WAITS = (1.0, 2.0, 4.0)
LONGEST_WAIT = 60.0
LARGEST_ANSWER = 1_000_000
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504, 529})
UNWANTED = frozenset({400, 422})
"""What a server says that does not know one of the wishes of a request."""
OF_ONE_REQUEST = frozenset({400, 413, 422})
"""What says nothing of other requests."""
SHOWN = 200

Message = Mapping[str, str]


def said(role: str, content: str) -> Message:
    """One message of a conversation; the roles are system, user and assistant."""
    return {"role": role, "content": content}


@dataclass(eq=False)
class LanguageModel:
    """A language model behind a chat server; InvalidInput where that cannot be one.

    `url` is the server's as its own clients take it, mostly ending in `/v1`. `seconds` bounds each
    request as a whole.
    """

    url: str
    name: str
    seconds: float = SECONDS
    waits: Sequence[float] = field(default_factory=lambda: WAITS, repr=False)
    """Seconds to wait before each further try."""
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)
    is_plain: bool = field(default=False, init=False, repr=False)
    """Whether the server was found to know nothing but a model and messages."""

    def __post_init__(self) -> None:
        self.name = self.name.strip()
        if not self.name or not self.name.isprintable():
            raise InvalidInput(
                "No model is named. Write --llm URL MODEL, with the name the server has for it."
            )
        if not 0 < self.seconds < 1e6:
            raise InvalidInput(f"timeout is {self.seconds:g}; expected seconds above 0.")
        self.place = parse(self.url)
        key_for(self.place)

    @property
    def server(self) -> str:
        """Where it is asked: the scheme, the host and the port."""
        return f"{self.place.scheme}://{self.place.netloc}"

    def ask(self, messages: Sequence[Message], *, schema: Mapping[str, Any] | None = None) -> str:
        """What it answers, as text; NoAnswer says what came instead and what to do.

        `schema` is the JSON schema that the answer should have. It is a wish: not every server
        knows of such, and not every model keeps to it.
        """
        plain = {"model": self.name, "messages": list(messages), "stream": False}
        wishes: dict[str, Any] = {"temperature": 0}
        if schema is not None:
            wanted = {"name": "answer", "strict": True, "schema": schema}
            wishes["response_format"] = {"type": "json_schema", "json_schema": wanted}
        if not self.is_plain:
            try:
                return self.insist({**plain, **wishes})
            except NoAnswer as error:
                if error.status not in UNWANTED:
                    raise
        answer = self.insist(plain)
        self.is_plain = True
        return answer

    def insist(self, document: Mapping[str, Any]) -> str:
        """The answer to one request, asked again while what hinders it may pass."""
        for wait in self.waits:
            try:
                return text_of(self.post(document))
            except NoAnswer as error:
                if not error.is_passing or (error.wait or 0) > LONGEST_WAIT:
                    raise
                self.sleep(max(wait, error.wait or 0))
        return text_of(self.post(document))

    def post(self, document: Mapping[str, Any]) -> Any:
        """The JSON document that the server answers one request with."""
        key = key_for(self.place)
        body = json.dumps(document, ensure_ascii=True).encode()
        headers = {"content-type": "application/json", "accept": "application/json"}
        if key is not None:
            headers["authorization"] = f"Bearer {key}"
        try:
            with Connection(self.place, self.seconds) as connection:
                status, told, content = connection.send("POST", self.place.path, body, headers)
        except (http.client.HTTPException, OSError) as error:
            raise self.unreachable(error) from error
        if key is not None:
            # Some servers repeat a key that they do not like.
            content = content.replace(key.encode(), "…".encode())
        if not 200 <= status < 300:
            raise self.refused(status, told, readable(content))
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise NoAnswer(
                f"{self.server} answered something that is not JSON: {readable(content)!r}. "
                "Is this the URL of a chat server? It mostly ends in /v1.",
                status=status,
            ) from error

    def unreachable(self, error: Exception) -> NoAnswer:
        """Why nothing came back from the server."""
        if isinstance(error, TooMuch):
            return NoAnswer(
                f"{self.server} sent more than {LARGEST_ANSWER:,} bytes; expected a chat."
            )
        if isinstance(error, TimeoutError):
            return NoAnswer(
                f"{self.server} gave no answer within {self.seconds:g} s. Give it longer with "
                "--timeout, or take a smaller model.",
                lasts=True,
            )
        if isinstance(error, ssl.SSLCertVerificationError):
            return NoAnswer(
                f"{self.server} has no valid certificate: {error.verify_message}. One of its own "
                "is named by SSL_CERT_FILE.",
                lasts=True,
            )
        if isinstance(error, Unreachable):
            return NoAnswer(
                f"{self.server} cannot be reached: {error}. Is it running, and is the URL right?",
                lasts=True,
            )
        return NoAnswer(
            f"{self.server} broke off in the middle of an answer ({type(error).__name__}). "
            "Run it again.",
            is_passing=True,
            lasts=True,
        )

    def refused(self, status: int, told: Mapping[str, str], words: str) -> NoAnswer:
        """What a status that is no success means."""
        said = f": {words}" if words else ""
        if 300 <= status < 400:
            to = cleaned(told.get("location", ""))
            return NoAnswer(
                f"{self.server} sends elsewhere ({status}, to {to or 'an unnamed place'}). The key "
                "is not carried there: give the URL that answers itself.",
                status=status,
                lasts=True,
            )
        advice = {
            401: "",
            403: "",
            404: f" Does it have a model {self.name!r}, and does its URL end as it should, mostly "
            "in /v1?",
            413: " What it was asked is too long for it.",
            429: " It wants fewer requests: run it again later.",
        }.get(status, " Run it again later." if status >= 500 else "")
        if status in (401, 403):
            advice = f" {about_key(self.place)}"
        wait = seconds_in(told.get("retry-after", ""))
        return NoAnswer(
            f"{self.server} answered {status}{said}.{advice}",
            status=status,
            wait=wait,
            is_passing=status in PASSING,
            lasts=status not in OF_ONE_REQUEST,
        )


def language_model(
    given: "Sequence[str] | LanguageModel", seconds: float = SECONDS
) -> LanguageModel:
    """The model that a URL and a name say; one that is a model already stays as it is."""
    if isinstance(given, LanguageModel):
        return given
    if isinstance(given, str) or len(given) != 2:
        raise InvalidInput(f"A language model is a URL and a name; got {given!r}.")
    return LanguageModel(given[0], given[1], seconds)


def parse(url: str) -> SplitResult:
    """The place to send requests to; InvalidInput for what is no URL of a server."""
    how = "Write it as http://127.0.0.1:11434/v1."
    try:
        place = urlsplit(url)
        port = place.port
        (place.hostname or "").encode("idna")
    except ValueError as error:
        raise InvalidInput(f"This is no URL of a chat server: {error}. {how}") from error
    if "@" in place.netloc:
        raise InvalidInput(f"A URL with a password in it is not taken. Put the key in {OWN_KEY}.")
    if place.scheme not in ("http", "https") or not place.hostname or port == 0:
        raise InvalidInput(f"{url!r} is no URL of a chat server. {how}")
    if place.query or place.fragment or not re.fullmatch(r"[!-~]+", url):
        raise InvalidInput(
            f"The URL of a chat server is a host and a path, with no spaces, ? or #. {how}"
        )
    path = place.path.rstrip("/")
    if not path.endswith(PATH):
        path = (path or "/v1") + PATH
    return place._replace(path=path)


def key_for(place: SplitResult) -> str | None:
    """The key to send there, if one is set.

    The key that other programs use for OpenAI is sent only where nobody on the way can read it.
    """
    names = [OWN_KEY, USUAL_KEY] if is_private(place) else [OWN_KEY]
    for name in names:
        key = os.environ.get(name, "").strip()
        if key:
            if not re.fullmatch(r"[!-~]+", key):
                raise InvalidInput(f"What {name} holds cannot be a key: it has spaces or worse.")
            return key
    return None


def is_private(place: SplitResult) -> bool:
    """Whether nobody on the way can read what is sent."""
    return place.scheme == "https" or place.hostname in LOOPBACK


def about_key(place: SplitResult) -> str:
    """What to do about the key where it was not enough."""
    if os.environ.get(OWN_KEY, "").strip():
        return f"Is the key in {OWN_KEY} the right one?"
    if os.environ.get(USUAL_KEY, "").strip():
        if is_private(place):
            return f"Is the key in {USUAL_KEY} the right one? {OWN_KEY} goes before it."
        return f"{USUAL_KEY} is not sent over plain http. To send a key there, put it in {OWN_KEY}."
    return f"Put its key in {OWN_KEY}."


def text_of(found: Any) -> str:
    """The words of a chat completion; NoAnswer for a refusal, for half an answer and for none."""
    if isinstance(found, Mapping) and found.get("error"):
        error = found["error"]
        told = error.get("message") if isinstance(error, Mapping) else error
        raise NoAnswer(f"The server answered with an error: {cleaned(str(told))}.")
    try:
        choice = found["choices"][0]
        message = choice["message"]
        content, refusal = message.get("content"), message.get("refusal")
        reason = choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise NoAnswer(
            "The server answered JSON that is no chat completion. Is this its chat URL?"
        ) from error
    if refusal or reason == "content_filter":
        raise NoAnswer(
            f"The model refused: {cleaned(str(refusal or reason))}. Another model may not."
        )
    if reason == "length":
        raise NoAnswer(
            "The model's answer was cut at its limit of tokens. Raise that of the server, or take "
            "a model that thinks less."
        )
    if not isinstance(content, str) or not content.strip():
        raise NoAnswer("The model said nothing. Run it again, or take another model.")
    return content


# --- words from elsewhere ------------------------------------------------------------------------


def cleaned(text: str, most: int = SHOWN) -> str:
    """Somebody else's words as one line that no terminal or file stumbles over."""
    # Far more than is kept is not looked at.
    line = " ".join("".join(map(printable, text[: 20 * most])).split())
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"


def printable(character: str) -> str:
    """The character, or a space for one that only does something."""
    return character if character.isprintable() else " "


def readable(content: bytes) -> str:
    """What an answer that is none says."""
    text = content[: 20 * SHOWN].decode("utf-8", "replace")
    with suppress(ValueError, RecursionError, TypeError, KeyError, AttributeError):
        error = json.loads(content)["error"]
        text = error if isinstance(error, str) else str(error["message"])
    return cleaned(text).rstrip(".")


def seconds_in(told: str) -> float | None:
    """The seconds of a Retry-After header; None for a date, which clocks disagree about."""
    return float(told) if re.fullmatch(r"\d{1,6}(\.\d+)?", told) else None


# --- the connection ------------------------------------------------------------------------------


class TooMuch(OSError):
    """The answer is larger than any chat."""


class Unreachable(OSError):
    """There is no connection to the server."""


class Connection:
    """One request on a connection of its own, which ends when its time is over.

    The socket's own timeout counts from the last byte: a server that trickles would never meet it.
    """

    def __init__(self, place: SplitResult, seconds: float) -> None:
        kind = (
            http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
        )
        assert place.hostname is not None
        self.connection = kind(place.hostname, place.port, timeout=min(seconds, SECONDS_TO_CONNECT))
        self.seconds = seconds
        self.is_late = False
        self.timer: threading.Timer | None = None

    def __enter__(self) -> "Connection":
        try:
            self.connection.connect()
        except ssl.SSLCertVerificationError:
            raise
        except OSError as error:
            raise Unreachable(error.strerror or str(error) or type(error).__name__) from error
        opened = self.connection.sock
        opened.settimeout(self.seconds)
        self.timer = threading.Timer(self.seconds, self.hang_up, (opened,))
        self.timer.daemon = True
        self.timer.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self.connection.close()
        if self.is_late:
            raise TimeoutError

    def hang_up(self, opened: socket.socket) -> None:
        """Ends the connection, whatever it waits for."""
        self.is_late = True
        with suppress(OSError):
            # Of the socket below TLS: what reads from it must see the end, and not a half-shut TLS.
            socket.socket.shutdown(opened, socket.SHUT_RDWR)

    def send(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, Mapping[str, str], bytes]:
        """The status, the headers by their names in lower case, and the whole body."""
        self.connection.request(method, path, body, headers)
        # It holds the socket by itself.
        with self.connection.getresponse() as response:
            content = response.read(LARGEST_ANSWER + 1)
            if len(content) > LARGEST_ANSWER:
                raise TooMuch
            if response.length:
                raise http.client.IncompleteRead(content, response.length)
        return response.status, lowered(response.getheaders()), content


def lowered(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Headers by name in lower case."""
    return {name.lower(): value for name, value in headers}
