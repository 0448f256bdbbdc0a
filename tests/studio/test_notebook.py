"""The studio in a notebook's cell: the same documents and pages over a widget's messages.

The kernel's end is a real widget; in place of Jupyter a page loads the widget's own script and
carries messages to and fro.
"""

import base64
import queue
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from policyscope.errors import MissingExtra
from policyscope.studies.labels import Labels
from policyscope.studies.study import Study
from policyscope.studies.views.views import Views
from policyscope.studio.app import Studio
from policyscope.studio.inprocess import ask
from policyscope.studio.notebook import show

pytest.importorskip("anywidget", reason="needs the extra [notebook]")

SECONDS = 60
NAME = "layer2/k4"


@dataclass
class Kernel:
    """The kernel's end of a widget, with what it has sent."""

    widget: Any
    sent: "queue.Queue[tuple[dict[str, Any], list[bytes]]]" = field(default_factory=queue.Queue)

    def ask(self, method: str, path: str, body: Any = None) -> tuple[dict[str, Any], list[bytes]]:
        return self.exchange({"key": "k", "id": 1, "method": method, "path": path, "body": body})

    def exchange(self, message: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        self.widget._handle_custom_msg(message, [])
        return self.sent.get(timeout=SECONDS)


@pytest.fixture
def kernel(own_study: Study, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    """A widget that shows a study, without a notebook around it."""
    widget = show(own_study, f"features/{NAME}", height=500)
    found = Kernel(widget)

    def send(message: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        found.sent.put((message, list(buffers or [])))

    monkeypatch.setattr(widget, "send", send)
    yield found
    widget.close()


def test_documents_come_as_the_views_have_them(kernel: Kernel, own_study: Study) -> None:
    views = Views(own_study)
    for path in ("overview", f"features/{NAME}", f"feature/{NAME}/0", "episodes/main"):
        message, buffers = kernel.ask("GET", path)
        assert (message["status"], message["key"], message["id"]) == (200, "k", 1)
        assert message["body"] == views.get(path)
        assert buffers == []


def test_queries_and_escapes_reach_the_view(kernel: Kernel) -> None:
    message, _ = kernel.ask("GET", f"episode/main/0?features={NAME.replace('/', '%2F')}%231")
    assert list(message["body"]["features"]) == [f"{NAME}#1"]


def test_pictures_come_as_buffers(kernel: Kernel, own_study: Study) -> None:
    pytest.importorskip("pygame", reason="needs the extra [frames]")
    own_study.frames(episodes=[0])
    clip, _ = kernel.ask("GET", "clip/main/0")
    message, (picture,) = kernel.ask("GET", clip["body"]["sheets"][0]["path"])
    assert message["media"] == "image/webp"
    assert picture[:4] == b"RIFF"


def test_what_is_not_there_is_said(kernel: Kernel) -> None:
    message, _ = kernel.ask("GET", "feature/nothing/0")
    assert message["status"] == 404
    assert "nothing" in message["body"]["error"]


def test_a_label_is_kept(kernel: Kernel, own_study: Study) -> None:
    body = {"text": "from a notebook", "status": "guess"}
    message, _ = kernel.ask("POST", f"labels/{NAME}/0", body)
    assert message["status"] == 200
    (kept,) = Labels(own_study.directory).of(NAME, 0)
    assert kept.text == "from a notebook"


def test_asked_from_within_it_answers_as_over_http(client) -> None:
    app = Studio(client.study, trust=False, most_sessions=0).routes()
    for path in ("overview", "feature/layer2/k4/1", "nothing"):
        over_http = client.get(f"/api/{path}")
        within = ask(app, "GET", path)
        assert (within.status, within.document) == (over_http.status, over_http.document)


def test_without_the_extra_it_says_what_to_install(
    own_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "policyscope.studio.widget")
    monkeypatch.setitem(sys.modules, "anywidget", None)
    with pytest.raises(MissingExtra, match=r"policyscope\[notebook\]"):
        show(own_study)


# --- in a browser --------------------------------------------------------------------------------

HOST = "http://127.0.0.1:9"
"""Nobody listens there: the page that plays the notebook is handed to the browser."""
CELL = """async (script) => {
  const heard = new Set();
  const model = {
    get: (name) => ({ height: 500 })[name],
    on: (name, callback) => name === "msg:custom" && heard.add(callback),
    off: (name, callback) => heard.delete(callback),
    send: async (message) => {
      const [said, packed] = await window.kernel(message);
      const buffers = packed.map((one) => new DataView(Uint8Array.from(atob(one), (c) => c.charCodeAt(0)).buffer));
      heard.forEach((callback) => callback(said, buffers));
    },
  };
  const address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
  const widget = (await import(address)).default;
  window.leave = widget.render({ model, el: document.getElementById("cell") });
}"""  # noqa: E501


@pytest.mark.slow
def test_a_cell_shows_the_pages(kernel: Kernel, own_study: Study) -> None:
    pytest.importorskip("pygame", reason="needs the extra [frames]")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("there is no Chromium on the PATH")
    own_study.frames(dictionary=NAME)
    trouble: list[str] = []

    def carry(message: dict[str, Any]) -> list[Any]:
        said, buffers = kernel.exchange(message)
        return [said, [base64.b64encode(one).decode() for one in buffers]]

    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(1000 * SECONDS)
        playwright.expect.set_options(timeout=1000 * SECONDS)
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("console", lambda said: said.type == "error" and trouble.append(said.text))
        page.expose_function("kernel", carry)
        host = '<!doctype html><link rel="icon" href="data:,"><div id="cell"></div>'
        page.route(HOST, lambda route: route.fulfill(body=host, content_type="text/html"))
        page.goto(HOST)
        script = Path(kernel.widget._esm)
        page.evaluate(
            CELL, script.read_text("utf-8") if script.exists() else str(kernel.widget._esm)
        )
        cell = page.frame_locator("iframe")
        playwright.expect(cell.locator("h1")).to_contain_text("Features")
        assert cell.get_by_role("link", name="Live", exact=True).count() == 0
        cell.get_by_role("link", name="#1").first.click()
        playwright.expect(cell.locator("#when-it-fires svg")).to_be_visible()
        playwright.expect(cell.locator(".strip canvas").first).to_be_visible()
        cell.locator("#label").get_by_label("Label", exact=True).fill("from a cell")
        cell.locator("#label").get_by_role("button", name="Keep").click()
        playwright.expect(cell.locator("#label .entry").first).to_contain_text("from a cell")
        assert re.match(rf"{HOST}/?$", page.url)
        page.evaluate("window.leave()")
        playwright.expect(page.locator("iframe")).to_have_count(0)
        browser.close()
    assert trouble == []
