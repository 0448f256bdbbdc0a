"""The studio in a real browser: a click path per page, live play by hand, no foreign host."""

import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from policyscope.cli import main
from policyscope.studies.study import Study
from policyscope.studio.app import create_app
from policyscope.studio.inline import inline
from policyscope.studio.server import Server, listen

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on the PATH"),
]

TOKEN = "a-token-of-the-browser"
SECONDS = 30
MILLISECONDS = 1000 * SECONDS
ARGUMENTS = (
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
OWN = ("data:", "blob:")
NAME = "layer2/k4"


@dataclass
class Seen:
    """A page, and everything in it that went wrong."""

    page: Any
    base: str
    trouble: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(MILLISECONDS)
        self.page.on("pageerror", lambda error: self.trouble.append(str(error)))
        self.page.on("console", self._said)
        self.page.on("request", self._asked)

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.trouble.append(message.text)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.base, *OWN)):
            self.foreign.append(request.url)

    def go(self, place: str) -> Any:
        """To a place of the study."""
        self.page.goto(f"{self.base}/?token={TOKEN}#/{place}")
        return self.page

    def check(self) -> None:
        """Nothing went wrong, and nobody else was asked for anything."""
        assert self.trouble == []
        assert self.foreign == []


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window."""
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield found
        found.close()


@pytest.fixture(scope="module")
def shown_study(described_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study of which every page has something to show."""
    directory = Path(shutil.copytree(described_study, tmp_path_factory.mktemp("shown") / "study"))
    for words in (
        (
            "fit",
            "--reads",
            "fc2:in",
            "--writes",
            "fc3:in",
            "--seeds",
            "1",
            "--epochs",
            "1",
            "--name",
            "layer2/k2",
            "relu",
            "--width",
            "2",
        ),
        ("score", NAME, "--episodes", "4"),
        ("sweep", NAME, "--feature", "0", "1", "--alpha", "-1", "1", "--episodes", "4"),
        ("frames", "--episode", "0"),
    ):
        assert main([words[0], str(directory), *words[1:]]) == 0
    return Study.open(directory)


@pytest.fixture(scope="module")
def base(shown_study: Study) -> Iterator[str]:
    """The address of a studio that runs for these tests."""
    listening = listen("127.0.0.1", 0)
    is_ready = threading.Event()
    server = Server(create_app(shown_study, TOKEN), is_ready.set)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        assert is_ready.wait(SECONDS)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(SECONDS)


@pytest.fixture(params=["light", "dark"])
def seen(request: pytest.FixtureRequest, browser: Any, base: str) -> Iterator[Seen]:
    """A fresh page, in both themes."""
    context = browser.new_context(color_scheme=request.param)
    found = Seen(context.new_page(), base)
    yield found
    context.close()
    found.check()


@pytest.fixture
def light(browser: Any, base: str) -> Iterator[Seen]:
    """A fresh page."""
    context = browser.new_context()
    found = Seen(context.new_page(), base)
    yield found
    context.close()
    found.check()


def expect(found: Any) -> Any:
    """What is said of a part of the page, waited for."""
    return playwright.expect(found)


@pytest.fixture(autouse=True)
def _patient() -> None:
    playwright.expect.set_options(timeout=MILLISECONDS)


# --- a click path per page -----------------------------------------------------------------------


def test_from_the_overview_to_a_feature_and_its_label(seen: Seen) -> None:
    page = seen.go("")
    expect(page.locator("#network")).to_contain_text("fc2:in")
    page.locator("#dictionaries").get_by_role("link", name=NAME, exact=True).click()
    expect(page.locator("h1")).to_contain_text("Features")
    page.get_by_role("link", name="#1").first.click()
    expect(page.locator("#when-it-fires svg")).to_be_visible()
    page.locator("#label").get_by_label("Label", exact=True).fill("what a person calls it")
    page.locator("#label").get_by_role("button", name="Keep").click()
    expect(page.locator("#label .entry").first).to_contain_text("what a person calls it")


def test_features_are_found_and_pinned_by_keyboard(seen: Seen) -> None:
    page = seen.go(f"features/{NAME}")
    expect(page.get_by_text("4 of 4")).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("p")
    expect(page.locator(".tray .pinned")).to_have_count(1)
    assert "pins=" in page.url
    page.get_by_role("button", name="gallery").click()
    expect(page.locator(".gallery figure").first).to_be_visible()


def test_an_episode_is_scrubbed_and_a_window_asked_about(seen: Seen) -> None:
    page = seen.go("episodes/main")
    page.locator("main table a").first.click()
    expect(page.locator("canvas.lanes")).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("heading", name="Step 1", exact=True)).to_be_visible()
    page = seen.go("ep/main/0?w=2-6")
    expect(page.get_by_text("What sets steps 2 to 6 apart")).to_be_visible()
    expect(page.locator("#lanes table tr").first).to_be_visible()


def test_a_sweep_is_read_and_an_evaluation_started(seen: Seen) -> None:
    page = seen.go("experiments")
    page.get_by_role("link", name=f"{NAME}/sweep").click()
    expect(page.locator("#all-settings tbody tr")).to_have_count(4)
    page = seen.go("experiments")
    page.get_by_label("what").select_option("evaluate")
    page.get_by_label("episodes").fill("2")
    page.get_by_role("button", name="Start").click()
    expect(page.locator("#under-way .job").last).to_contain_text(re.compile("done|failed"))
    expect(page.locator("#under-way .job").last).to_contain_text("done")


def test_correlations_and_comparison(seen: Seen) -> None:
    page = seen.go(f"corr/{NAME}")
    heat = page.locator(".heat canvas")
    expect(heat).to_be_visible()
    heat.focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator("h1")).to_contain_text("Correlations")
    page = seen.go(f"compare?d={NAME},layer2/k2")
    expect(page.locator("#scores")).to_contain_text("layer2/k2")


def test_a_report_is_written_and_opens_from_disk(light: Seen, shown_study: Study) -> None:
    page = light.go("report")
    page.get_by_label(f"Take {NAME}#0").wait_for()
    page.get_by_role("button", name="Write the file").click()
    expect(page.get_by_role("link", name="Save a copy")).to_be_visible()
    with page.expect_download() as coming:
        page.get_by_role("link", name="Save a copy").click()
    assert b'id="documents"' in Path(coming.value.path()).read_bytes()


def test_a_file_opens_without_a_server(browser: Any, shown_study: Study, tmp_path: Path) -> None:
    path = inline(shown_study, tmp_path / "out.html")
    context = browser.new_context()
    found = Seen(context.new_page(), path.as_uri())
    found.page.goto(path.as_uri())
    expect(found.page.locator("#network")).to_contain_text("fc2:in")
    assert found.page.get_by_role("link", name="Live").count() == 0
    found.page.goto(f"{path.as_uri()}#/f/{NAME}/0")
    expect(found.page.locator("#when-it-fires svg")).to_be_visible()
    context.close()
    found.check()


# --- live ----------------------------------------------------------------------------------------


def step_of(page: Any) -> int:
    return int(page.locator(".live").get_attribute("data-step") or -1)


def test_live_is_steered_parts_from_its_twin_and_goes_back(seen: Seen) -> None:
    pytest.importorskip("pygame", reason="needs the extra [frames]")
    page = seen.go(f"live/{NAME}?steer=0")
    live = page.locator(".live")
    expect(live).to_have_attribute("data-step", re.compile(r"^\d+$"))
    slider = page.get_by_label(re.compile("^steer 0"))
    expect(slider).to_be_visible()
    page.get_by_role("button", name="new episode").click()
    slider.fill("-2")
    # Whichever way it pushes: one of both is not what the agent does by itself.
    page.locator("canvas.frame").first.wait_for()
    expect(page.locator(".tag")).to_contain_text("STEERED")
    expect(live).to_have_class(re.compile("steered"))
    expect(live).to_have_attribute("data-latency", re.compile(r"^\d+$"))
    assert page.evaluate(COLOURS_OF_THE_PICTURE) > 1
    if not live.get_attribute("data-diverged"):
        slider.fill("2")
    page.get_by_role("button", name="reset all").click()
    expect(page.locator(".edit")).to_have_count(0)


COLOURS_OF_THE_PICTURE = """() => {
  const canvas = document.querySelector("canvas.frame");
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  const found = new Set();
  for (let at = 0; at < pixels.length; at += 4) found.add(pixels[at] * 65536 + pixels[at + 1] * 256 + pixels[at + 2]);
  return found.size;
}"""  # noqa: E501


def test_live_stands_still_steps_and_goes_back(light: Seen) -> None:
    page = light.go(f"live/{NAME}?fps=5")
    live = page.locator(".live")
    expect(live).to_have_attribute("data-step", re.compile(r"^[3-9]$"))
    page.get_by_role("button", name="pause").click()
    expect(page.get_by_role("button", name="play", exact=True)).to_be_visible()
    at = step_of(page)
    page.get_by_role("button", name="step", exact=True).click()
    expect(live).to_have_attribute("data-step", re.compile(rf"^({at + 1}|{at + 2})$"))
    back = page.get_by_label("Go back through this episode")
    back.fill("1")
    expect(live).to_have_attribute("data-step", "1")
    expect(page.locator("output")).to_have_text("step 1")


def test_a_hand_at_the_controls_parts_the_agent_from_its_twin(light: Seen) -> None:
    page = light.go(f"live/{NAME}?fps=10")
    live = page.locator(".live")
    expect(live).to_have_attribute("data-step", re.compile(r"^\d+$"))
    page.get_by_role("button", name="new episode").click()
    page.get_by_role("button", name="take the controls").click()
    expect(page.locator(".keys")).to_contain_text("left")
    for key in ("ArrowLeft", "ArrowRight"):
        page.keyboard.down(key)
        page.wait_for_timeout(600)
        page.keyboard.up(key)
    expect(live).to_have_attribute("data-diverged", re.compile(r"^\d+$"))
    expect(live).to_have_class(re.compile("steered"))
    page.keyboard.press("Escape")
    expect(page.locator(".keys")).to_have_count(0)


def test_what_was_played_is_kept(light: Seen) -> None:
    page = light.go(f"live/{NAME}?edits=0:ablate:0")
    expect(page.locator(".live")).to_have_attribute("data-step", re.compile(r"^\d+$"))
    page.get_by_label("Name of the experiment").fill("tried")
    page.get_by_role("button", name="Save as experiment").click()
    page.get_by_role("link", name="live/tried").click()
    expect(page.locator("h1")).to_contain_text("live/tried")
    expect(page.locator("#result")).to_contain_text("seed")


def test_a_page_says_that_its_server_is_gone(browser: Any, shown_study: Study) -> None:
    listening = listen("127.0.0.1", 0)
    is_ready = threading.Event()
    server = Server(create_app(shown_study, TOKEN), is_ready.set)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    assert is_ready.wait(SECONDS)
    context = browser.new_context()
    found = Seen(context.new_page(), f"http://127.0.0.1:{listening.getsockname()[1]}")
    page = found.go(f"live/{NAME}")
    expect(page.locator(".live")).to_have_attribute("data-step", re.compile(r"^\d+$"))
    server.should_exit = True
    thread.join(SECONDS)
    expect(page.get_by_role("alert")).to_contain_text("server is gone")
    context.close()
    assert found.foreign == []
