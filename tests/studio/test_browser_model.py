"""The pages of a studio with a language model, in a real browser: asked for, shown whose it is."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from policyscope.chat import LanguageModel
from policyscope.studies.labels import Labels
from policyscope.studies.study import Study
from policyscope.testing.chat_server import ChatServer, reply, status

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on the PATH"),
]
MILLISECONDS = 60_000
QUIET = ("--no-sandbox", "--disable-background-networking", "--disable-component-update")
NAME = "layer2/k4"
LABEL = {"label": "leans <b>right</b>", "condition": [{"metric": "pole_angle", "above": 0}]}
CAPTION = "The pole leans right, so it pushes right."


@pytest.fixture
def server() -> Iterator[ChatServer]:
    def answer(document: dict[str, Any]) -> Any:
        is_caption = "caption" in document["messages"][0]["content"]
        return reply(CAPTION if is_caption else LABEL)

    with ChatServer([answer]) as made:
        yield made


@dataclass
class Shown:
    """A page of a studio that was started with a model, and whom it asked."""

    page: Any
    base: str
    token: str
    trouble: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(MILLISECONDS)
        self.page.on("pageerror", lambda error: self.trouble.append(str(error)))
        self.page.on("request", lambda asked: self.ask(asked.url))

    def ask(self, url: str) -> None:
        """Takes down who is not of this studio."""
        if not url.startswith((self.base, "data:", "blob:")):
            self.foreign.append(url)

    def go(self, place: str) -> Any:
        """To a place of the study."""
        self.page.goto(f"{self.base}/?token={self.token}#/{place}")
        return self.page


@pytest.fixture
def shown(serving, own_study: Study, server: ChatServer) -> Iterator[Shown]:
    playwright.expect.set_options(timeout=MILLISECONDS)
    model = LanguageModel(server.url, "planted-model")
    with serving(own_study, model=model) as client, playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        found = Shown(browser.new_page(), f"http://{client.host}", client.token)
        yield found
        browser.close()
    assert found.trouble == []
    assert found.foreign == []


def alive_in(study: Study) -> int:
    table = study.result("features", NAME, "features.json") or {}
    return next(card["index"] for card in table["features"] if card["label"]["rule"])


def test_a_label_is_asked_for_and_a_failure_is_said(
    shown: Shown, own_study: Study, server: ChatServer
) -> None:
    index = alive_in(own_study)
    page = shown.go(f"f/{NAME}/{index}")
    page.get_by_role("button", name="Ask the model").click()
    entry = page.locator(".entry").first
    playwright.expect(entry).to_contain_text("leans <b>right</b>")
    playwright.expect(entry).to_contain_text("llm · planted-model")
    playwright.expect(entry).to_contain_text("pole_angle > 0")
    server.answers = [status(401, "who are you")]
    page.get_by_role("button", name="Ask the model").click()
    said = page.get_by_text("who are you")
    playwright.expect(said).to_contain_text(f"planted-model gave no label for {NAME}#{index}")
    assert [one.author for one in Labels(own_study.directory).of(NAME, index)] == ["planted-model"]


def test_captions_are_off_until_wanted_and_say_whose_they_are(
    shown: Shown, server: ChatServer
) -> None:
    pytest.importorskip("pygame", reason="needs the extra [frames]")
    page = shown.go(f"live/{NAME}")
    box = page.get_by_label("also in the words of planted-model")
    words = page.locator("p.words")
    playwright.expect(words.first).to_contain_text("→ pushing")
    assert server.requests == []
    box.check()
    playwright.expect(words.last).to_contain_text(f"{CAPTION} (planted-model, of step ")
    server.answers = [status(503, "overloaded")]
    page.get_by_role("button", name="next seed").click()
    playwright.expect(words.last).to_contain_text("overloaded")
    playwright.expect(words.last).to_contain_text("The words above go on.")
    playwright.expect(words.first).to_contain_text("→ pushing")
    sent = json.dumps([one["messages"][1] for one in server.requests])
    assert "pushing" in sent
    assert server.most_at_once == 1
    box.uncheck()
    playwright.expect(words).to_have_count(1)
