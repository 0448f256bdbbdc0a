"""A chat server on this machine whose every answer is planted, failures included.

    with ChatServer() as server:
        server.answers = [reply("pole right"), status(429), HANG_UP]
        LanguageModel(server.url, "planted").ask([said("user", "…")])
        server.requests[0]["messages"]

Each request takes the next answer, and the last one again once they are used up. An answer is a
function of the request's document, or what such a function returns.
"""

import json
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast


@dataclass(frozen=True)
class Reply:
    """What the server sends: a status, headers and a body, of which it may send only a part."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_at: int | None = None
    """Bytes of the body after which it hangs up."""


HANG_UP = Reply(cut_at=-1)
"""No answer at all: the connection is closed."""
NEVER = Reply(cut_at=-2)
"""No answer, and the connection stays open for as long as the server runs."""

TRICKLE = Reply(cut_at=-3)
"""An answer without end, a few bytes at a time."""

Planted = Reply | Callable[[dict[str, Any]], Reply]


def reply(content: Any, *, reason: str = "stop", cut_at: int | None = None, **more: Any) -> Reply:
    """A chat completion; what is no text becomes JSON."""
    text = content if content is None or isinstance(content, str) else json.dumps(content)
    message = {"role": "assistant", "content": text, **more}
    document = {
        "object": "chat.completion",
        "choices": [{"message": message, "finish_reason": reason}],
    }
    return Reply(body=json.dumps(document).encode(), cut_at=cut_at)


def status(code: int, message: str = "planted", **headers: str) -> Reply:
    """An error as such servers send it."""
    body = json.dumps({"error": {"message": message}}).encode()
    return Reply(code, body, {name.replace("_", "-"): value for name, value in headers.items()})


class ChatServer:
    """The server, on a free port; use it in a `with`."""

    def __init__(self, answers: Sequence[Planted] = ()) -> None:
        self.answers: list[Planted] = list(answers)
        self.requests: list[dict[str, Any]] = []
        """The documents that were asked with."""
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.most_at_once = 0
        """Requests under way at a time, at most."""
        self.closing = threading.Event()
        self._at_once = 0
        self._lock = threading.Lock()
        self._server = Listening(("127.0.0.1", 0), Handler)
        self._server.chat = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        """Its URL, as a client takes it."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> "ChatServer":
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def take(self, path: str, headers: Mapping[str, str], document: dict[str, Any]) -> Reply:
        """The planted answer to a request."""
        with self._lock:
            number = len(self.requests)
            self.requests.append(document)
            self.headers.append({name.lower(): value for name, value in headers.items()})
            self.paths.append(path)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            planted = self.answers[min(number, len(self.answers) - 1)]
        return planted if isinstance(planted, Reply) else planted(document)

    def end(self) -> None:
        """One request fewer is under way."""
        with self._lock:
            self._at_once -= 1


class Listening(ThreadingHTTPServer):
    """Keeps quiet about clients that leave."""

    daemon_threads = True
    chat: ChatServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients of tests come and go as they like."""


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    def do_POST(self) -> None:
        """Reads the request, and sends what is planted."""
        chat = cast(Listening, self.server).chat
        size = int(self.headers.get("content-length", 0))
        document = json.loads(self.rfile.read(size) or b"{}")
        planted = chat.take(self.path, dict(self.headers), document)
        try:
            if planted.cut_at == NEVER.cut_at:
                chat.closing.wait()
            if planted.cut_at in (HANG_UP.cut_at, NEVER.cut_at):
                return
            self.send_response(planted.status)
            if planted.cut_at == TRICKLE.cut_at:
                self.end_headers()
                while not chat.closing.wait(0.02):
                    self.wfile.write(b" ")
                return
            for name, value in {"content-type": "application/json", **planted.headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(planted.body)))
            self.end_headers()
            self.wfile.write(planted.body[: planted.cut_at])
        finally:
            chat.end()
            self.close_connection = True
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_WR)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""
