"""Asking the studio's application from within the process that holds it, without a server."""

import asyncio
import json
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from policyscope.studio.security import App

JSON = "application/json"


@dataclass(frozen=True)
class Answer:
    """What the application answered."""

    status: int
    media: str
    body: bytes

    @property
    def is_document(self) -> bool:
        """Whether it is JSON, and not a picture."""
        return self.media == JSON

    @property
    def document(self) -> Any:
        """The JSON value."""
        return json.loads(self.body)


def ask(app: App, method: str, path: str, body: Any = None) -> Answer:
    """The answer to one request for `path` below /api/, as `episode/main/0?features=A%231`."""
    return asyncio.run(converse(app, method, path, body))


async def converse(app: App, method: str, path: str, body: Any) -> Answer:
    """One request and its answer as ASGI has them."""
    place, _, query = path.partition("?")
    content = b"" if body is None else json.dumps(body).encode()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": f"/api/{unquote(place)}",
        "raw_path": f"/api/{place}".encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(b"content-length", str(len(content)).encode())],
        "client": None,
        "server": None,
    }
    said: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        said.append(message)

    await app(scope, receive, send)
    headers = {name.decode().lower(): value.decode() for name, value in said[0]["headers"]}
    media = headers.get("content-type", "").split(";")[0]
    return Answer(said[0]["status"], media, b"".join(one.get("body", b"") for one in said[1:]))
