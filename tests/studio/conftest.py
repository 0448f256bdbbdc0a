"""A real studio on a free port of this machine, and a client of it."""

import http.client
import json
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from policyscope.cli import main
from policyscope.studies.study import Study
from policyscope.studio.app import create_app
from policyscope.studio.security import TOKEN_HEADER
from policyscope.studio.server import Server, listen
from policyscope.studio.wire import decode

TOKEN = "a-token-of-the-tests"
SECONDS = 60
"""After which a test gives up waiting, on the slowest machine."""


@dataclass(frozen=True)
class Answer:
    """What the server answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        return self.document["error"]


@dataclass
class Player:
    """A page's end of a live socket; acknowledges what it is shown."""

    socket: ClientConnection
    texts: list[dict[str, Any]] = field(default_factory=list)

    def send(self, type: str, **fields: Any) -> None:
        self.socket.send(json.dumps({"type": type, **fields}))

    def next(self) -> dict[str, Any]:
        """The next message, `pictures` of a binary one with it."""
        message = self.socket.recv(timeout=SECONDS)
        if isinstance(message, str):
            return json.loads(message)
        header, pictures = decode(message)
        self.send("ack", n=header["n"])
        return {**header, "type": "step", "pictures": pictures}

    def until(self, type: str, **wanted: Any) -> dict[str, Any]:
        """The first message of a type that says all this."""
        while True:
            found = self.next()
            if found["type"] == type and all(found[key] == wanted[key] for key in wanted):
                return found


@dataclass(frozen=True)
class Client:
    """Asks one server as somebody who has the token, or who says otherwise."""

    study: Study
    port: int
    sockets: ExitStack
    token: str = TOKEN
    seconds: float = SECONDS

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        token: str | None = TOKEN,
    ) -> Answer:
        own = {"Host": self.host, **({} if token is None else {TOKEN_HEADER: token})}
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        try:
            connection.request(method, path, content, {**own, **(headers or {})})
            found = connection.getresponse()
            names = {name.lower(): value for name, value in found.getheaders()}
            return Answer(found.status, names, found.read())
        finally:
            connection.close()

    def get(self, path: str, **more: Any) -> Answer:
        return self.ask("GET", path, **more)

    def post(self, path: str, body: Any, **more: Any) -> Answer:
        return self.ask("POST", path, body, **more)

    def play(self, query: str = f"?token={TOKEN}", **headers: str) -> Player:
        """A live socket, opened as our own page does."""
        given = {"Origin": f"http://{self.host}", **headers}
        opening = connect(
            f"ws://{self.host}/live{query}",
            additional_headers={name: value for name, value in given.items() if value},
            compression=None,
            max_size=None,
            open_timeout=SECONDS,
            close_timeout=SECONDS,
        )
        return Player(self.sockets.enter_context(opening))


@pytest.fixture(scope="session")
def described_study(made_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study whose features were looked at; to be left as it is."""
    study = Path(shutil.copytree(made_study, tmp_path_factory.mktemp("described") / "study"))
    assert main(["features", str(study), "layer2/k4"]) == 0
    return study


@pytest.fixture
def own_study(described_study: Path, tmp_path: Path) -> Study:
    """The same, of one's own."""
    return Study.open(shutil.copytree(described_study, tmp_path / "study"))


@contextmanager
def serve(study: Study, **options: Any) -> Iterator[Client]:
    """A client of a server that runs inside the `with`."""
    listening = listen("127.0.0.1", 0)
    is_ready = threading.Event()
    server = Server(create_app(study, TOKEN, **options), is_ready.set)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        assert is_ready.wait(SECONDS)
        with ExitStack() as sockets:
            yield Client(study, listening.getsockname()[1], sockets)
    finally:
        server.should_exit = True
        thread.join(SECONDS)
    assert not thread.is_alive()


@pytest.fixture
def serving() -> Any:
    """See `serve`."""
    return serve


@pytest.fixture
def client(own_study: Study) -> Iterator[Client]:
    """A client of a server that runs for this test."""
    with serve(own_study) as made:
        yield made
