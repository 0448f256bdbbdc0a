"""The live socket: a session of play in a thread of its own, and the messages to and fro.

The thread plays at the asked speed. It sends what is to be seen only while fewer than three
messages wait to be acknowledged, and then always the newest: a slow page misses steps, and never
lags behind. Whatever a page sends, malformed or not, is answered, and the session goes on.
"""

import asyncio
import json
import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from policyscope.address import check_name
from policyscope.document import strict
from policyscope.errors import EnvironmentFailed, InvalidInput, PolicyscopeError, UnknownName
from policyscope.studies.study import Study
from policyscope.studio.captions import Captions
from policyscope.studio.known import Knowledge
from policyscope.studio.play import Change, Play, Start, check_rate
from policyscope.studio.received import check_call, parse

MOST_UNREAD = 3
MOST_SESSIONS = 8
MOST_WAITING = 256
"""Messages of a page that were not dealt with yet."""
PATIENCE_SECONDS = 5.0
"""After so long without a sign of the page the world stands still."""
HICCUP_SECONDS = 0.1
"""So late, steps are still made up for."""
MOST_STEPS = 10_000

Send = Callable[[bytes | str], None]


@dataclass(frozen=True)
class Request:
    """One message of the page that was found well formed."""

    kind: str
    arguments: Mapping[str, Any]


@dataclass(eq=False)
class Session:
    """One page's play. `take` and `close` may be called from any thread."""

    study: Study
    send: Send
    rephrase: Callable[[str], str] | None = None
    """Says an explanation in other words; may take its time."""
    turn: AbstractContextManager[Any] = field(default_factory=threading.Lock)
    """Held by whoever asks for other words."""
    knowledge: Knowledge | None = None
    play: Play | None = field(default=None, init=False)
    is_playing: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        # None only wakes the thread.
        self._requests: queue.Queue[Request | None] = queue.Queue(MOST_WAITING)
        self._is_closing = False
        self._sent = 0
        self._acknowledged = 0
        self._heard = time.monotonic()
        self._is_stale = False
        self._period = 1 / 30
        self._due = 0.0
        self._captions: Captions | None = None
        self._thread = threading.Thread(target=self._run, name="live", daemon=True)
        self._thread.start()

    def take(self, text: str | bytes) -> None:
        """Takes in a message of the page; what is wrong with it is answered."""
        try:
            request = read(text)
            self._requests.put_nowait(request)
        except PolicyscopeError as error:
            self.say(type="error", error=str(error))
        except queue.Full:
            self.say(type="error", error="That was too much at once; some of it was left out.")

    def close(self) -> None:
        """Ends the session; returns when its thread has ended."""
        self._is_closing = True
        with suppress(queue.Full):
            self._requests.put_nowait(None)
        self._thread.join()

    def say(self, **message: Any) -> None:
        """Sends a text message."""
        self.send(json.dumps(strict(message), ensure_ascii=False, allow_nan=False))

    # --- the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._is_closing:
                for request in self._wait():
                    if request is not None and not self._is_closing:
                        self._guard(partial(self._do, request))
                if not self._is_closing:
                    self._guard(self._go_on)
        finally:
            self._end()

    def _wait(self) -> list[Request | None]:
        """What was asked for by the time there is something to do."""
        found: list[Request | None] = []
        seconds = max(0.0, self._due - time.monotonic()) if self._is_running() else None
        with suppress(queue.Empty):
            found.append(self._requests.get(timeout=seconds))
            while True:
                found.append(self._requests.get_nowait())
        return found

    def _is_running(self) -> bool:
        """Whether time passes in the world: not while the page gives no sign."""
        if not self.is_playing or self.play is None:
            return False
        is_silent = time.monotonic() - self._heard > PATIENCE_SECONDS
        return not (is_silent and self._unread >= MOST_UNREAD)

    @property
    def _unread(self) -> int:
        return self._sent - self._acknowledged

    def _guard(self, work: Callable[[], None]) -> None:
        """Does something; what goes wrong is said, and ends the play where it must."""
        try:
            work()
        except EnvironmentFailed as error:
            self._end()
            self.say(type="error", error=f"{error} Start again.", is_over=True)
        except PolicyscopeError as error:
            self.say(type="error", error=str(error))
        except Exception as error:
            # Agents and environments are other people's code: they may raise anything.
            self._end()
            self.say(type="error", error=f"Play stopped: {error!r}. Start again.", is_over=True)

    def _end(self) -> None:
        play, self.play, self.is_playing = self.play, None, False
        if play is not None:
            with suppress(Exception):
                play.close()
        if self._captions is not None:
            self._captions.close()
            self._captions = None

    def _go_on(self) -> None:
        """Advances when it is time, and shows what is new when there is room."""
        if self.play is None:
            return
        now = time.monotonic()
        if self._is_running() and now >= self._due:
            self._due = next_due(self._due, self._period, now)
            self.play.advance()
            self._is_stale = True
            if self.play.live.is_over:
                self.is_playing = False
        if self._is_stale and self._unread < MOST_UNREAD:
            self._is_stale = False
            self._sent += 1
            self.send(self.play.message({"n": self._sent, "playing": self.is_playing}))
            if self._captions is not None:
                self._captions.ask(self.play.words(self.play.firings()), self.play.live.step)

    def _do(self, request: Request) -> None:
        self._heard = time.monotonic()
        if request.kind == "ack":
            self._acknowledged = max(self._acknowledged, min(request.arguments["n"], self._sent))
            return
        ANSWERS[request.kind](self, **request.arguments)
        self._is_stale = self._is_stale or self.play is not None

    def _playing(self) -> Play:
        if self.play is None:
            raise InvalidInput('Nothing plays yet. Send {"type": "start", "dictionary": …} first.')
        return self.play

    # --- what a page may ask for -------------------------------------------------------------

    def start(
        self,
        dictionary: str,
        seed: int = 0,
        deterministic: bool = False,
        fps: float = 30.0,
        twin: bool = True,
        edits: list[dict] | None = None,
        pins: list[int] | None = None,
    ) -> None:
        """Begins an episode and plays it, edited and with these features shown from step 0 on."""
        asked = Start(dictionary, seed, deterministic, fps, twin)
        self._end()
        self.play = Play(self.study, asked, knowledge=self.knowledge)
        self._period = 1 / fps
        self.is_playing = True
        self.say(**self.play.hello())
        # A link may ask for features of another dictionary: the agent plays all the same.
        if pins:
            self._guard(partial(self.pin, pins))
        if edits:
            self._guard(partial(self.edit, edits))
        # The first step is seen for as long as any other.
        self._due = time.monotonic() + self._period

    def edit(self, edits: list[dict]) -> None:
        """Replaces all edits."""
        changes = []
        for one in edits:
            changes.append(Change(**check_call("an edit", Change, one)))
        self._playing().edit(changes)

    def pause(self) -> None:
        """Stands still."""
        self.is_playing = False

    def go(self) -> None:
        """Plays on."""
        play = self._playing()
        if play.live.is_over:
            raise InvalidInput("The episode is over. Rewind, or start another.")
        self.is_playing, self._due = True, time.monotonic() + self._period

    def step(self, count: int = 1) -> None:
        """Goes so many steps forward and stands still."""
        play = self._playing()
        if not 1 <= count <= MOST_STEPS:
            raise InvalidInput(f"count is {count}; expected 1 to {MOST_STEPS}.")
        self.is_playing = False
        for _ in range(count):
            if play.live.is_over or self._is_closing:
                break
            play.advance()

    def rewind(self, step: int) -> None:
        """Goes back, and stands still there."""
        self._playing().rewind(step)
        self.is_playing = False

    def branch(self) -> None:
        """Compares from here on."""
        self._playing().branch()

    def act(self, action: int | float | list[float] | None = None) -> None:
        """Takes the controls, or gives them back."""
        self._playing().act(action)

    def rate(self, fps: float) -> None:
        """Plays so fast."""
        check_rate(fps)
        self._period = 1 / fps

    def pin(self, features: list[int]) -> None:
        """Always shows these."""
        self._playing().pin(features)

    def ack(self, n: int) -> None:
        """Has drawn message `n`."""

    def save(self, name: str) -> None:
        """Keeps what was played as an experiment."""
        play = self._playing()
        if "/" in check_name("experiment", name):
            raise InvalidInput(f"{name!r} is no name for live play: leave out '/'.")
        place = ("experiments", "live", f"{name}.json")
        if self.study.directory.joinpath(*place).exists():
            raise InvalidInput(f"There is a live experiment {name!r} already. Choose another name.")
        self.study.keep(play.document(), *place)
        self.say(type="saved", path=f"live/{name}")

    def explain(self, llm: bool) -> None:
        """Has a language model say the explanations in its own words, or no more."""
        if self._captions is not None:
            self._captions.close()
            self._captions = None
        if not llm:
            return
        if self.rephrase is None:
            raise InvalidInput("No language model is set up. Start the studio with --llm.")
        self._captions = Captions(self.rephrase, self.say, self.turn)


def next_due(due: float, period: float, now: float) -> float:
    """When the step after the one that was `due` is: a hiccup is caught up with, no more than that.

    Else every moment in which the machine does something else would make the world slower.
    """
    return max(due + period, now - HICCUP_SECONDS)


ANSWERS: dict[str, Callable[..., None]] = {
    "start": Session.start,
    "edit": Session.edit,
    "pause": Session.pause,
    "play": Session.go,
    "step": Session.step,
    "rewind": Session.rewind,
    "branch": Session.branch,
    "act": Session.act,
    "rate": Session.rate,
    "pin": Session.pin,
    "ack": Session.ack,
    "save": Session.save,
    "explain": Session.explain,
}
"""What each type of message does; its fields are the arguments."""


def read(text: str | bytes) -> Request:
    """The request in a message; an error that says what is wrong with it."""
    found = parse(text)
    kind = found.pop("type", None)
    if not isinstance(kind, str) or kind not in ANSWERS:
        raise UnknownName.among("message", str(kind), ANSWERS)
    return Request(kind, check_call(kind, ANSWERS[kind], found))


# --- the socket ----------------------------------------------------------------------------------


class Outbox:
    """Messages on their way to one socket, put there by any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[bytes | str | None] = asyncio.Queue(MOST_WAITING)

    def put(self, message: bytes | str) -> None:
        """Adds a message; a page that leaves too many unread is given up."""
        with suppress(RuntimeError):  # the loop has ended, and with it the socket
            self._loop.call_soon_threadsafe(self._add, message)

    def _add(self, message: bytes | str) -> None:
        if self._queue.full():
            while not self._queue.empty():
                self._queue.get_nowait()
            self._queue.put_nowait(None)
        else:
            self._queue.put_nowait(message)

    async def deliver(self, socket: WebSocket) -> None:
        """Sends what comes, for as long as the page reads it."""
        while (message := await self._queue.get()) is not None:
            if isinstance(message, bytes):
                await socket.send_bytes(message)
            else:
                await socket.send_text(message)


class Sessions:
    """The sessions of one server."""

    def __init__(
        self,
        study: Study,
        rephrase: Callable[[str], str] | None = None,
        most: int = MOST_SESSIONS,
    ) -> None:
        self.study = study
        self.rephrase = rephrase
        self.most = most
        self.turn = threading.Lock()
        self.knowledge = Knowledge(study)
        self.count = 0

    async def converse(self, socket: WebSocket) -> None:
        """Everything with one socket, until either side has enough."""
        await socket.accept()
        if self.count >= self.most:
            error = f"{self.most} pages play already. Close one, and load this page again."
            await socket.send_text(json.dumps({"type": "error", "error": error, "is_over": True}))
            await socket.close(1013, "too many sessions")
            return
        self.count += 1
        outbox = Outbox()
        session = Session(self.study, outbox.put, self.rephrase, self.turn, self.knowledge)
        ends = [
            asyncio.ensure_future(listen(socket, session)),
            asyncio.ensure_future(outbox.deliver(socket)),
        ]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
            await asyncio.to_thread(session.close)
            self.count -= 1
        if socket.client_state is WebSocketState.CONNECTED:
            with suppress(RuntimeError, WebSocketDisconnect):
                await socket.close(1008, "too many unread messages")


async def listen(socket: WebSocket, session: Session) -> None:
    """Hands on what the page sends, until it leaves."""
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        session.take(message.get("text") or message.get("bytes") or "")
