"""Serving the studio: a free port, a token, the address to open, and an end with Ctrl-C."""

import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Sequence
from contextlib import suppress

import torch
import uvicorn

from policyscope.chat import LanguageModel, language_model
from policyscope.errors import InvalidInput
from policyscope.studies.study import Study
from policyscope.studio.app import create_app
from policyscope.studio.security import LARGEST_BODY, LOCAL_NAMES, Gate
from policyscope.studio.token import new_token, token_of

USUAL_PORT = 8421
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
EVERYWHERE = frozenset({"0.0.0.0", "::"})
SECONDS_TO_CLOSE = 3


class Server(uvicorn.Server):
    """A server that says when it is ready."""

    def __init__(self, app: Gate, ready: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_level="warning",
                # The other implementations lean on what websockets is giving up.
                ws="websockets-sansio",
                ws_max_size=LARGEST_BODY,
                # Pictures are packed already.
                ws_per_message_deflate=False,
                timeout_graceful_shutdown=SECONDS_TO_CLOSE,
                server_header=False,
            )
        )
        self.ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts, and says so."""
        await super().startup(sockets)
        self.ready()


def say(url: str) -> None:
    """Prints the address at once, also into a pipe."""
    print(url, flush=True)


def serve(
    study: Study,
    *,
    port: int | None = None,
    host: str = "127.0.0.1",
    open_browser: bool = True,
    trust: bool = False,
    llm: Sequence[str] | LanguageModel | None = None,
    announce: Callable[[str], None] = say,
) -> str:
    """Serves the studio of a study until it is interrupted; the address it had.

    Without `port` it takes the usual one, or any that is free. InvalidInput where it cannot listen.
    `llm` is the URL of a chat server and a model's name, see `LanguageModel`.
    Started again within half a day it has the same token, so that pages that are open join it.
    """
    model = None if llm is None else language_model(llm)
    # Whoever lets other machines in wants no old address to open anything.
    token = token_of(study.directory) if host in LOOPBACK else new_token()
    names = LOCAL_NAMES if host in LOOPBACK else LOCAL_NAMES | {bracketed(host).lower()}
    app = create_app(
        study, token, names=names, takes_addresses=host in EVERYWHERE, trust=trust,
        model=model,
    )  # fmt: skip
    # Live play thinks for two rows at a time. Threads that share so little work wait for each other
    # longer than they work: on two busy cores a step took two to four times as long.
    torch.set_num_threads(1)
    listening = listen(host, port)
    url = address(host, listening.getsockname()[1], token)

    def ready() -> None:
        announce(url)
        explain(host, listening.getsockname()[1], wants_browser=open_browser)
        if model is not None:
            explain_model(model)
        if open_browser and has_display():
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()

    # Ctrl-C is how one leaves.
    with suppress(KeyboardInterrupt), listening:
        Server(app, ready).run([listening])
    return url


def listen(host: str, port: int | None) -> socket.socket:
    """A socket that listens; InvalidInput where there is none to be had."""
    wanted = [USUAL_PORT, 0] if port is None else [port]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for one in wanted:
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind((host, one))
            made.listen(128)
        except (OSError, OverflowError) as error:
            made.close()
            if one == wanted[-1]:
                raise InvalidInput(
                    f"Cannot listen on {host} port {one}: {error}. "
                    "Leave out --port to take one that is free."
                ) from error
        else:
            return made
    raise AssertionError("the last port either listens or raises")


def address(host: str, port: int, token: str) -> str:
    """What to open in the browser."""
    name = "127.0.0.1" if host == "0.0.0.0" else "[::1]" if host == "::" else bracketed(host)
    return f"http://{name}:{port}/?token={token}"


def bracketed(host: str) -> str:
    """The host as an address has it."""
    return f"[{host}]" if ":" in host else host


def explain(host: str, port: int, *, wants_browser: bool) -> None:
    """Says on stderr what else there is to know."""
    if host not in LOOPBACK:
        print(
            f"policyscope: others can reach this studio at {host}. Whoever has the address with "
            "its token can read and change the study, and nothing on the way is encrypted.",
            file=sys.stderr,
        )
    elif wants_browser and not has_display():
        print(
            "policyscope: there is no display here. From your own machine:\n"
            f"  ssh -N -L {port}:127.0.0.1:{port} {socket.gethostname()}\n"
            "and open the address above there.",
            file=sys.stderr,
        )
    print("policyscope: Ctrl-C ends the studio.", file=sys.stderr, flush=True)


def explain_model(model: LanguageModel) -> None:
    """Says what leaves this machine, or this process, and where to."""
    print(
        f"policyscope: {model.name} at {model.server} is asked where a page asks for it. It is "
        "sent the words of live play for captions, and for labels the statistics and some "
        "recorded metrics of a feature. Nothing else is sent to anybody.",
        file=sys.stderr,
        flush=True,
    )


def has_display() -> bool:
    """Whether a browser could show itself here."""
    if sys.platform in ("darwin", "win32"):
        return "SSH_CONNECTION" not in os.environ
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
