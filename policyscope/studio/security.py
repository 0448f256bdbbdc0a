"""Who may talk to the studio: whoever has the token, from our own page, under our own name.

A page of some other site that is open in the same browser must reach nothing here. It cannot read
the token; its name for us is not ours (DNS rebinding), so Host is checked; and its requests carry
its Origin, so that a foreign one is refused, and a write or a socket needs ours or the token in a
header, which no foreign page can set.
"""

import hmac
import ipaddress
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.requests import cookie_parser

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

TOKEN_HEADER = "x-policyscope-token"
LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})
LARGEST_BODY = 1_000_000
TOO_LARGE = f"At most {LARGEST_BODY:,} bytes are taken at once."
HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?")
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
NO_TOKEN = (
    "This studio asks for the token that `policyscope studio` printed. "
    "Open the address with ?token=… once."
)


@dataclass(frozen=True)
class Refusal:
    """Why a request is turned away."""

    status: int
    error: str


@dataclass(frozen=True)
class Gate:
    """An application that only those reach who may."""

    app: App
    token: str
    names: frozenset[str] = LOCAL_NAMES
    """What the studio is called in a Host header, without the port: a tunnel may change that."""
    takes_addresses: bool = False
    """Whether any IP address will do as a name, as where all of a machine's are listened on."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        refusal = self.refusal(scope)
        if refusal is not None:
            await turn_away(scope, refusal, receive, send)
        elif scope["type"] == "websocket":
            await self.app(scope, receive, send)
        else:
            await self.pass_on(scope, receive, send)

    def refusal(self, scope: Scope) -> Refusal | None:
        """Why this request may not pass; None where it may."""
        headers = headers_of(scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self.is_ours(host):
            return Refusal(421, f"This studio is not called {host!r}.")
        if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
            return Refusal(403, f"{origin!r} is another site than {host!r}.")
        has_header = self.is_token(headers.get(TOKEN_HEADER))
        if not (has_header or self.is_token(self.carried(scope, headers, host))):
            return Refusal(403, NO_TOKEN)
        is_write = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")
        if is_write and origin is None and not has_header:
            return Refusal(403, f"A write needs an Origin, or the token as {TOKEN_HEADER}.")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > LARGEST_BODY:
            return Refusal(413, TOO_LARGE)
        return None

    def is_ours(self, host: str) -> bool:
        """Whether a Host header names this studio."""
        found = HOST.fullmatch(host)
        if not found:
            return False
        name = found[1].lower()
        return name in self.names or (self.takes_addresses and is_address(name))

    def is_token(self, given: str | None) -> bool:
        """Whether this is the token; takes as long for a near miss as for a far one."""
        return given is not None and hmac.compare_digest(given.encode(), self.token.encode())

    def carried(self, scope: Scope, headers: MutableMapping[str, str], host: str) -> str | None:
        """The token of the page's address or the socket's, or else of the cookie."""
        given = query_token(scope) if scope["path"] in ("/", "/live") else None
        return given or cookie_parser(headers.get("cookie", "")).get(cookie_name(host))

    async def pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The request with a limit on its body; the answer with what keeps the page safe."""
        host = headers_of(scope).get("host", "")
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > LARGEST_BODY:
                raise HTTPException(413, TOO_LARGE)
            return message

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *HEADERS]
                if self.is_token(query_token(scope)):
                    message["headers"].append((b"set-cookie", self.cookie(host).encode()))
            await send(message)

        await self.app(scope, counted, guarded)

    def cookie(self, host: str) -> str:
        """The cookie that a page with the token is given."""
        return f"{cookie_name(host)}={self.token}; Path=/; HttpOnly; SameSite=Strict"


def headers_of(scope: Scope) -> dict[str, str]:
    """The headers by name in small letters; the first of several counts."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
    return found


def query_token(scope: Scope) -> str | None:
    """The token in the address."""
    query = scope.get("query_string", b"").decode("latin-1")
    return next(iter(parse_qs(query).get("token", ())), None)


def cookie_name(host: str) -> str:
    """One name for each port: browsers give a cookie to all ports of a host."""
    found = HOST.fullmatch(host)
    return f"policyscope-{(found and found[2]) or 80}"


def is_address(name: str) -> bool:
    """Whether a host is named by its number, which no foreign page can make its own."""
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


async def turn_away(scope: Scope, refusal: Refusal, receive: Receive, send: Send) -> None:
    """Answers with the refusal; a socket is never opened."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": refusal.error})
        return
    body = json.dumps({"error": refusal.error}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        # What was not read of the request ends with the connection.
        (b"connection", b"close"),
        *HEADERS,
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
