"""The studio as a web application: the page, the study's documents, writes, and the live socket.

GET    /                            the page
GET    /api/PATH                    a document or a picture of the study, see `Views`
GET    /api/model                   the language model there is to ask, if any
GET    /api/jobs, /api/jobs/ID      experiments in the background
GET    /api/file/NAME.html          a report that was written here
POST   /api/labels/NAME/INDEX       one more label of a feature
POST   /api/jobs                    starts an experiment
DELETE /api/jobs/ID                 stops it
POST   /api/report                  writes pages and features into one HTML file
WS     /live                        live play, see `live`
"""

import asyncio
import gzip
import hashlib
import json
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from policyscope.chat import LanguageModel
from policyscope.dictionaries.file import read_header
from policyscope.document import strict
from policyscope.errors import (
    DiskFull,
    InUse,
    InvalidInput,
    MissingExtra,
    NotEnoughData,
    PolicyscopeError,
    UnknownName,
    UntrustedFile,
)
from policyscope.studies.labels import GivenLabel, Labels, Outdated
from policyscope.studies.study import Study
from policyscope.studies.views.views import Blob, Views
from policyscope.studio.captions import Rephraser
from policyscope.studio.inline import inline, reports_of
from policyscope.studio.jobs import Jobs
from policyscope.studio.live import MOST_SESSIONS, Sessions
from policyscope.studio.received import check_call, parse
from policyscope.studio.security import LOCAL_NAMES, Gate

STATIC = Path(__file__).parent / "static"
PAGE = {
    "": ("index.html", "text/html; charset=utf-8"),
    "index.html": ("index.html", "text/html; charset=utf-8"),
    "app.js": ("app.js", "text/javascript; charset=utf-8"),
    "app.css": ("app.css", "text/css; charset=utf-8"),
}
"""The files of the page, and nothing else, by name."""
STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (UnknownName, 404),
    (InUse, 409),
    (InvalidInput, 400),
    (NotEnoughData, 400),
    (MissingExtra, 400),
    (UntrustedFile, 403),
    (DiskFull, 507),
)
ZIP_LEVEL = 4
LEAST_ZIPPED = 1024
Answer = Callable[[Request], Awaitable[Response]]


def create_app(
    study: Study,
    token: str,
    *,
    names: frozenset[str] = LOCAL_NAMES,
    takes_addresses: bool = False,
    trust: bool = False,
    model: LanguageModel | None = None,
    most_sessions: int = MOST_SESSIONS,
) -> Gate:
    """The application; only who has the token gets in.

    `names` are what it may be called in a Host header. `trust` lets experiments open a study whose
    files can run code. `model` is asked for captions and labels, where a page asks for them.
    """
    studio = Studio(study, trust=trust, model=model, most_sessions=most_sessions)
    return Gate(studio.routes(), token, names, takes_addresses)


class Studio:
    """One study with everything that is going on around it."""

    def __init__(
        self,
        study: Study,
        *,
        trust: bool,
        model: LanguageModel | None = None,
        most_sessions: int = MOST_SESSIONS,
    ) -> None:
        self.study = study
        self.model = model
        self.views = Views(study)
        self.jobs = Jobs(study, trust=trust, model=model)
        rephrase = None if model is None else Rephraser(model, study.environment_id)
        self.sessions = Sessions(study, rephrase, most_sessions)
        self.labels = Labels(study.directory)
        self._labelling = threading.Lock()

    def routes(self) -> Starlette:
        """Every path there is."""
        return Starlette(
            routes=[
                Route("/api/model", answered(self.see_model), methods=["GET"]),
                Route("/api/jobs", answered(self.see_jobs), methods=["GET"]),
                Route("/api/jobs", answered(self.start_job), methods=["POST"]),
                Route("/api/jobs/{id}", answered(self.see_job), methods=["GET"]),
                Route("/api/jobs/{id}", answered(self.stop_job), methods=["DELETE"]),
                Route("/api/report", answered(self.report), methods=["POST"]),
                Route("/api/file/{name}", answered(self.file), methods=["GET"]),
                Route("/api/labels/{name:path}/{index}", answered(self.label), methods=["POST"]),
                Route("/api/{path:path}", answered(self.view), methods=["GET"]),
                Route("/{name}", answered(self.page), methods=["GET"]),
                Route("/", answered(self.page), methods=["GET"]),
                WebSocketRoute("/live", self.live),
            ],
            lifespan=self.lifespan,
            exception_handlers={HTTPException: nowhere},
        )

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """What runs ends with the server."""
        threading.Thread(target=self.warm, name="warm", daemon=True).start()
        yield
        await asyncio.to_thread(self.jobs.close)

    def warm(self) -> None:
        """Reads ahead; what is wrong with the study is for the page that needs it to say."""
        with suppress(PolicyscopeError, OSError):
            self.views.warm()

    # --- the page and what it shows ----------------------------------------------------------

    def page(self, given: "Given") -> Response:
        """A file of the page."""
        name = given.path.get("name", "")
        if name not in PAGE:
            raise UnknownName(f"There is no page {name!r}. The studio begins at /.")
        file, media = PAGE[name]
        body, zipped, tag = static(file)
        headers = {"cache-control": "no-cache", "etag": tag, "vary": "accept-encoding"}
        if given.is_known(tag):
            return Response(status_code=304, headers=headers)
        if not given.takes_gzip:
            return Response(body, media_type=media, headers=headers)
        return Response(zipped, media_type=media, headers={**headers, "content-encoding": "gzip"})

    def view(self, given: "Given") -> Response:
        """A document or a picture of the study."""
        path = given.path["path"]
        if any(part in ("", ".", "..") for part in path.split("/")) or "\\" in path or "\0" in path:
            raise UnknownName(f"There is no view {path!r}.")
        found = self.views.get(path, given.query)
        return given.picture(found) if isinstance(found, Blob) else given.document(found)

    def file(self, given: "Given") -> Response:
        """A report that was written here, to be saved."""
        name = given.path["name"]
        known = {path.name: path for path in reports_of(self.study)}
        if name not in known:
            raise UnknownName.among("report", name, known)
        headers = {
            "content-disposition": f'attachment; filename="{name}"',
            # Opened in the browser it is still a page that may do nothing here.
            "content-security-policy": "sandbox",
        }
        return Response(known[name].read_bytes(), media_type="text/html", headers=headers)

    # --- writes ------------------------------------------------------------------------------

    def label(self, given: "Given") -> Response:
        """Adds a label, and answers with the feature; 409 where others were added before it."""
        name, index = given.path["name"], given.path["index"]
        body = check_call("a label", spoken_label, given.body)
        if name not in self.study.dictionaries():
            raise UnknownName.among("dictionary", name, self.study.dictionaries())
        if not index.isdecimal() or int(index) >= width_of(self.study, name):
            raise UnknownName(f"{name} has no feature {index}.")
        label, revision = spoken_label(**body)
        status, error = 200, {}
        try:
            with self._labelling:
                self.labels.add(label(name, int(index)), revision)
        except Outdated as outdated:
            status, error = 409, {"error": str(outdated)}
        return given.document({**self.feature(name, int(index)), **error}, status)

    def feature(self, name: str, index: int) -> dict[str, Any]:
        """The page of a feature; without `features` found, its labels alone."""
        try:
            return self.views.get(f"feature/{name}/{index}", {})
        except UnknownName:
            labels = self.views.labels.of(name, index)
            return {
                "dictionary": name,
                "index": index,
                "labels": [vars(one) for one in labels],
                "revision": len(labels),
            }

    def see_model(self, given: "Given") -> Response:
        """The language model that can be asked, and where; null where there is none."""
        known = self.model
        return given.document({"name": known and known.name, "server": known and known.server})

    def see_jobs(self, given: "Given") -> Response:
        """All experiments in the background."""
        return given.document({"jobs": [job.to_json() for job in self.jobs.list()]})

    def see_job(self, given: "Given") -> Response:
        """One of them."""
        return given.document(self.jobs.get(given.path["id"]).to_json())

    def start_job(self, given: "Given") -> Response:
        """Starts one."""
        verb, arguments = spoken_job(**check_call("a job", spoken_job, given.body))
        return given.document(self.jobs.start(verb, arguments).to_json(), 201)

    def stop_job(self, given: "Given") -> Response:
        """Stops one."""
        return given.document(self.jobs.cancel(given.path["id"]).to_json())

    def report(self, given: "Given") -> Response:
        """Writes pages and features into one HTML file."""
        features, pages = spoken_report(**check_call("a report", spoken_report, given.body))
        path = inline(self.study, features=features, pages=pages, views=self.views)
        where = path.relative_to(self.study.directory).as_posix()
        return given.document({"path": where, "download": f"api/file/{path.name}"}, 201)

    # --- live --------------------------------------------------------------------------------

    async def live(self, socket: WebSocket) -> None:
        """Live play."""
        await self.sessions.converse(socket)


def spoken_label(
    text: str,
    status: Literal["guess", "tested", "refuted"],
    author: str = "",
    note: str = "",
    revision: int | None = None,
) -> tuple[Callable[[str, int], GivenLabel], int | None]:
    """A label as a page sends it, for some feature, and how many labels its writer had seen."""

    def label(dictionary: str, index: int) -> GivenLabel:
        return GivenLabel(dictionary, index, text.strip(), status, author[:80], note=note)

    return label, revision


def spoken_job(verb: str, arguments: dict | None = None) -> tuple[str, dict[str, Any]]:
    """A job as a page sends it."""
    return verb, arguments or {}


def spoken_report(
    features: list[str] | None = None, pages: list[str] | None = None
) -> tuple[list[str] | None, list[str] | None]:
    """A report as a page asks for it."""
    return features, pages


def width_of(study: Study, name: str) -> int:
    """How many features a dictionary has, without loading it."""
    header = read_header(study.directory / "dictionaries" / name)
    return int(header["choices"].get("width") or header["facts"]["d_in"])


# --- requests and answers ------------------------------------------------------------------------


class Given:
    """A request that was read whole, to be answered in a thread."""

    def __init__(self, request: Request, body: bytes) -> None:
        self.path: Mapping[str, str] = request.path_params
        self.query = {name: value for name, value in request.query_params.items()}
        self.query.pop("token", None)
        self.takes_gzip = "gzip" in request.headers.get("accept-encoding", "")
        self.known_tags = request.headers.get("if-none-match", "")
        self.body: dict[str, Any] = parse(body) if request.method == "POST" else {}

    def is_known(self, tag: str) -> bool:
        """Whether the browser has this already."""
        return tag in self.known_tags

    def document(self, document: Any, status: int = 200) -> Response:
        """The answer that is a JSON document."""
        text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        body = text.encode()
        headers = {"cache-control": "no-store", "vary": "accept-encoding"}
        if self.takes_gzip and len(body) >= LEAST_ZIPPED:
            body = gzip.compress(body, ZIP_LEVEL)
            headers["content-encoding"] = "gzip"
        return Response(body, status, headers, "application/json")

    def picture(self, picture: Blob) -> Response:
        """The answer that is a picture; asked for again, it is sent only if it has changed."""
        tag = f'"{hashlib.sha256(picture.content).hexdigest()[:20]}"'
        headers = {"cache-control": "private, no-cache", "etag": tag}
        if self.is_known(tag):
            return Response(status_code=304, headers=headers)
        return Response(picture.content, headers=headers, media_type=picture.media)


@lru_cache(maxsize=len(PAGE))
def static(file: str) -> tuple[bytes, bytes, str]:
    """A file of the page, the same zipped, and what changes with it."""
    body = (STATIC / file).read_bytes()
    return body, gzip.compress(body), f'"{hashlib.sha256(body).hexdigest()[:20]}"'


def answered(answer: Callable[[Given], Response]) -> Answer:
    """What answers a request: in a thread, with errors as documents."""

    async def run(request: Request) -> Response:
        body = await request.body()
        return await asyncio.to_thread(attempt, answer, request, body)

    return run


def attempt(answer: Callable[[Given], Response], request: Request, body: bytes) -> Response:
    """The answer, or what went wrong."""
    try:
        return answer(Given(request, body))
    except PolicyscopeError as error:
        status = next((code for kind, code in STATUSES if isinstance(error, kind)), 500)
        return failure(status, str(error))
    except Exception as error:
        # A fault of ours, which must not take the server with it.
        traceback.print_exc(file=sys.stderr)
        return failure(500, f"The studio failed here: {error!r}. Its terminal says more.")


def failure(status: int, error: str) -> Response:
    """What went wrong, as a document."""
    body = json.dumps(strict({"error": error})).encode()
    return Response(body, status, {"cache-control": "no-store"}, "application/json")


async def nowhere(request: Request, error: Exception) -> Response:
    """The answer where nothing is, or nothing of that kind, or too much was sent."""
    assert isinstance(error, HTTPException)
    if error.status_code in (404, 405):
        said = f"Nothing answers {request.method} {request.url.path} here."
        return failure(error.status_code, said)
    return failure(error.status_code, error.detail)
