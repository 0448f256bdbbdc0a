"""Only who has the token, from our own page, gets in; whoever does gets nothing but the study."""

import asyncio
import json
import socket
from contextlib import suppress

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from policyscope.studio.live import MOST_SESSIONS, MOST_WAITING, Outbox
from policyscope.studio.security import LARGEST_BODY, Gate, cookie_name


def test_the_token_opens_the_page_and_leaves_a_cookie(client) -> None:
    first = client.get(f"/?token={client.token}", token=None)
    assert first.status == 200
    assert b'id="app"' in first.body
    cookie = first.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    name = cookie_name(client.host)
    assert cookie.startswith(f"{name}={client.token};")
    again = {"Cookie": f"other=1; {name}={client.token}"}
    assert client.get("/app.js", token=None, headers=again).status == 200
    assert client.get("/api/overview", token=None, headers=again).status == 200


@pytest.mark.parametrize("path", ["/", "/app.js", "/api/overview", "/api/jobs", "/nothing"])
@pytest.mark.parametrize("token", [None, "", "wrong", "a-token-of-the-test", "ü"])
def test_without_the_token_there_is_nothing(client, path: str, token: str | None) -> None:
    answer = client.get(path, token=token)
    assert answer.status == 403
    assert "token" in answer.error


def test_the_address_carries_the_token_to_the_page_only(client) -> None:
    assert client.get(f"/api/overview?token={client.token}", token=None).status == 403
    wrong = {"Cookie": f"{cookie_name(client.host)}=wrong"}
    assert client.get("/", token=None, headers=wrong).status == 403


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example", "", "a b", "[::1"]
)
def test_another_name_for_us_is_refused(client, host: str) -> None:
    given = {"Host": host.format(port=client.port)}
    assert client.get("/api/overview", headers=given).status in (400, 421)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9000", "127.0.0.1:80", "[::1]:8421"])
def test_our_names_pass_with_any_port_because_of_tunnels(client, host: str) -> None:
    assert client.get("/api/overview", headers={"Host": host}).status == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "", "http://127.0.0.1:1"])
def test_a_foreign_origin_is_refused_even_with_the_token(client, origin: str) -> None:
    label = {"text": "mine", "status": "guess"}
    headers = {"Origin": origin}
    assert client.post("/api/labels/layer2/k4/0", label, headers=headers).status == 403
    assert client.get("/api/overview", headers=headers).status == 403
    with pytest.raises(InvalidStatus, match="403"):
        client.play(Origin=origin or "null")
    assert not client.study.directory.joinpath("labels.jsonl").exists()


def test_a_write_by_cookie_needs_our_origin(client) -> None:
    cookie = {"Cookie": f"{cookie_name(client.host)}={client.token}"}
    label = {"text": "mine", "status": "guess"}
    path = "/api/labels/layer2/k4/0"
    assert client.post(path, label, token=None, headers=cookie).status == 403
    ours = {**cookie, "Origin": f"http://{client.host}"}
    assert client.post(path, label, token=None, headers=ours).status == 200


def test_the_socket_needs_the_token_and_our_origin(client) -> None:
    for query, headers in (
        ("", {}),
        ("?token=wrong", {}),
        (f"?token={client.token}", {"Origin": ""}),
    ):
        with pytest.raises(InvalidStatus, match="403"):
            client.play(query, **headers)
    handshake = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Host": "evil.example",
    }
    assert client.get("/live", headers=handshake).status == 403
    client.play().socket.close()
    client.play("", Origin="", **{"x-policyscope-token": client.token}).socket.close()


@pytest.mark.parametrize(
    "path",
    [
        "/api/../study.json", "/../study.json", "/api/%2e%2e/study.json", "/%2e%2e%2fapp.py",
        "/api/sheet/main/..%2f..%2f..%2fstudy.json", "/api/experiment/../../study",
        "/api/experiment/..%2f..%2fstudy", "/api/file/..%2fstudy.json", "/api/file/%2fetc%2fpasswd",
        "/api/dictionary/../../agent", "/api/features//etc/passwd", "/api/dictionary/%00",
        "/static/app.js", "//etc/passwd", "/api/sheet/main/ep0-0000.webp/..",
        "/api/dictionary/a%5cb", "/api/episodes/%2e%2e",
    ],
)  # fmt: skip
def test_no_path_leaves_the_study(client, path: str) -> None:
    answer = client.get(path)
    assert answer.status == 404
    assert answer.error


def test_pages_may_load_nothing_from_elsewhere(client) -> None:
    for path in ("/", "/api/overview", "/nothing"):
        headers = client.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in headers


def test_an_oversized_body_is_refused(client) -> None:
    announced = client.post("/api/jobs", b"", headers={"Content-Length": str(LARGEST_BODY + 1)})
    assert announced.status == 413
    with socket.create_connection(("127.0.0.1", client.port), timeout=client.seconds) as raw:
        head = (
            f"POST /api/jobs HTTP/1.1\r\nHost: {client.host}\r\n"
            f"x-policyscope-token: {client.token}\r\n"
            "Transfer-Encoding: chunked\r\n\r\n"
        )
        raw.sendall(head.encode())
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        for _ in range(LARGEST_BODY // 0x10000 + 1):
            raw.sendall(chunk)
        assert raw.recv(100).startswith(b"HTTP/1.1 413")
    assert client.get("/api/jobs").document == {"jobs": []}


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"verb": 3}', b"[" * 50_000, b'{"verb": "sweep", "more": 1}']
)
@pytest.mark.parametrize("path", ["/api/jobs", "/api/labels/layer2/k4/0", "/api/report"])
def test_a_malformed_body_is_answered_in_words(client, path: str, body: bytes) -> None:
    answer = client.post(path, body)
    assert answer.status in (400, 404)
    assert answer.error


def test_methods_that_are_not_meant_do_nothing(client) -> None:
    for method in ("PUT", "PATCH", "DELETE", "OPTIONS"):
        assert client.ask(method, "/api/labels/layer2/k4/0", {}).status == 405


def test_twenty_tabs(client) -> None:
    players = [client.play() for _ in range(20)]
    for player in players:
        # Those that are too many may have been sent away by now.
        with suppress(ConnectionClosed):
            player.send("start", dictionary="layer2/k4", fps=30)
    said = [player.next() for player in players]
    hello, refused = ([one for one in said if one["type"] == t] for t in ("hello", "error"))
    assert len(hello) == MOST_SESSIONS
    assert len(refused) == 20 - MOST_SESSIONS
    assert all("play already" in one["error"] for one in refused)
    assert client.get("/api/overview").status == 200
    for player in players:
        player.socket.close()
    assert client.get("/api/overview").status == 200


def test_a_page_that_acknowledges_nothing_gets_three_messages(client) -> None:
    silent, other = client.play(), client.play()
    silent.send("start", dictionary="layer2/k4", fps=240)
    other.send("start", dictionary="layer2/k4", fps=60)
    while other.next().get("step", 0) < 8:
        pass
    silent.send("nonsense")
    texts, pictures = 0, 0
    while texts < 2:
        is_text = isinstance(silent.socket.recv(timeout=client.seconds), str)
        texts, pictures = texts + is_text, pictures + (not is_text)
    assert pictures <= 3
    for player in (silent, other):
        player.socket.close()


def test_a_page_that_leaves_everything_unread_is_given_up() -> None:
    class Socket:
        async def send_text(self, message: str) -> None:
            await asyncio.Event().wait()

    async def flood() -> None:
        outbox = Outbox()
        delivering = asyncio.ensure_future(outbox.deliver(Socket()))  # type: ignore[arg-type]
        for _ in range(MOST_WAITING + 2):
            outbox.put("no")
            await asyncio.sleep(0)
        assert outbox._queue.qsize() <= 2
        delivering.cancel()

    asyncio.run(flood())


def test_an_address_will_do_as_a_name_where_all_are_listened_on() -> None:
    async def nothing(*_: object) -> None:
        """An application that does nothing."""

    gate = Gate(nothing, "", takes_addresses=True)
    assert gate.is_ours("192.168.0.7:8421")
    assert gate.is_ours("[fe80::1]:80")
    assert not gate.is_ours("evil.example")
    assert not Gate(nothing, "").is_ours("192.168.0.7")


def test_a_text_that_is_no_text_reaches_no_file(client) -> None:
    label = json.dumps({"text": "\ud800", "status": "guess"}).encode()
    assert client.post("/api/labels/layer2/k4/0", label).status == 400
    assert not client.study.directory.joinpath("labels.jsonl").exists()
