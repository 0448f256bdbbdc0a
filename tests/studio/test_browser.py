"""The studio in a real browser: a click path per page, live play by hand, no foreign host."""

import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
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
        ("features", "layer2/k2"),
        ("score", NAME, "--episodes", "4"),
        ("nudge", NAME, "--feature", "0", "--alpha", "1", "--episodes", "4", "--confirm", "4"),
        ("sweep", NAME, "--feature", "0", "1", "--alpha", "-1", "1", "--episodes", "4"),
        ("frames", "--episode", "0"),
    ):
        assert main([words[0], str(directory), *words[1:]]) == 0
    return Study.open(directory)


@contextmanager
def served(study: Study, port: int = 0) -> Iterator[int]:
    """A studio that runs meanwhile; its port."""
    listening = listen("127.0.0.1", port)
    is_ready = threading.Event()
    server = Server(create_app(study, TOKEN), is_ready.set)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        assert is_ready.wait(SECONDS)
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(SECONDS)


@pytest.fixture(scope="module")
def base(shown_study: Study) -> Iterator[str]:
    """The address of a studio that runs for these tests."""
    with served(shown_study) as port:
        yield f"http://127.0.0.1:{port}"


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
    expect(page.locator("#agent-and-environment")).to_contain_text("CartPole-v1")
    expect(page.locator("#experiments")).to_contain_text(f"{NAME}/sweep")
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


def test_labels_are_judged_by_keyboard_and_found_by_facet(light: Seen) -> None:
    page = light.go(f"features/{NAME}")
    row = page.locator("table.features tbody tr").nth(1)
    expect(row).to_be_visible()
    page.keyboard.press("j")
    expect(row).to_have_class(re.compile(r"\bat\b"))
    page.keyboard.press("3")
    expect(row).to_contain_text("refuted")
    page.get_by_label("any status").select_option("refuted")
    expect(page.locator(".facets")).to_contain_text("1 of 4")
    page.get_by_role("button", name="show all").click()
    expect(page.locator(".facets")).to_contain_text("4 of 4")


def test_any_name_of_a_feature_shows_its_card(seen: Seen) -> None:
    page = seen.go(f"features/{NAME}")
    page.locator("table.features .feature a").first.focus()
    card = page.get_by_role("tooltip")
    expect(card).to_contain_text(f"{NAME}#0")
    expect(card.locator("svg").last).to_be_visible()
    box = card.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= page.viewport_size["width"]
    page.keyboard.press("Escape")
    expect(card).to_have_count(0)


def test_an_episode_is_scrubbed_and_a_window_asked_about(seen: Seen) -> None:
    page = seen.go("episodes/main")
    page.locator("main table a").first.click()
    expect(page.locator("canvas.lanes")).to_be_visible()
    step = page.get_by_label("Step", exact=True)
    expect(step).to_have_value("0")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("heading", name="Step 1", exact=True)).to_be_visible()
    page.keyboard.press("[")
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    expect(step).to_have_value("5")
    page.keyboard.press("]")
    expect(page.get_by_text("What sets steps 1 to 5 apart")).to_be_visible()
    expect(page.locator("#lanes table tr").first).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_text("What sets steps 1 to 5 apart")).to_have_count(0)


def test_a_window_is_brushed_with_the_mouse(light: Seen) -> None:
    page = light.go("ep/main/0")
    lanes = page.locator("canvas.lanes")
    box = lanes.bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 20, steps=4)
    page.mouse.up()
    expect(page.get_by_text("What sets steps")).to_be_visible()
    assert re.search(r"[?&]w=\d+-\d+", page.url)


def test_a_sweep_is_read_and_an_evaluation_started(seen: Seen) -> None:
    page = seen.go("experiments")
    page.get_by_role("link", name=f"{NAME}/sweep").click()
    expect(page.locator("#all-settings tbody tr")).to_have_count(5)
    page = seen.go("experiments")
    page.locator("#start-one").get_by_label("what").select_option("evaluate")
    page.locator("#start-one").get_by_label("episodes").fill("2")
    jobs = page.locator("#under-way .job")
    expect(page.locator("#under-way")).not_to_contain_text("Loading")
    before = jobs.count()
    page.get_by_role("button", name="Start", exact=True).click()
    expect(jobs).to_have_count(before + 1)
    expect(jobs.first).to_have_attribute("data-state", "done")
    jobs.first.get_by_role("link", name="look").click()
    expect(page.locator("#result")).to_contain_text("return")


def test_what_nobody_has_looked_at_is_looked_at_from_the_page(
    browser: Any, shown_study: Study, tmp_path: Path
) -> None:
    directory = Path(shutil.copytree(shown_study.directory, tmp_path / "study"))
    (directory / "features" / "layer2" / "k2" / "features.json").unlink()
    context = browser.new_context()
    with served(Study.open(directory)) as port:
        found = Seen(context.new_page(), f"http://127.0.0.1:{port}")
        page = found.go("features/layer2/k2")
        expect(page.get_by_role("alert")).to_contain_text("Nobody has looked")
        page.get_by_role("link", name="Look at them now").click()
        page.get_by_role("button", name="Start", exact=True).click()
        page.locator("#under-way").get_by_role("link", name="look").click()
        expect(page.get_by_text("2 of 2")).to_be_visible()
        page.get_by_role("link", name="Correlations").click()
        expect(page.get_by_label("Dictionary")).to_have_value("layer2/k2")
        context.close()
    # The browser itself says of an answer that it was a 404.
    assert [said for said in found.trouble if "404" not in said] == []
    assert found.foreign == []


def test_a_job_is_cancelled_and_a_wrong_one_refused(light: Seen) -> None:
    page = light.go("experiments")
    start = page.locator("#start-one")
    start.get_by_label("strengths").fill("1 much")
    page.get_by_role("button", name="Start", exact=True).click()
    expect(start.get_by_role("alert")).to_contain_text("“much” is no number")
    start.get_by_label("what").select_option("evaluate")
    start.get_by_label("episodes").fill("100000")
    page.get_by_role("button", name="Start", exact=True).click()
    job = page.locator("#under-way .job").first
    job.get_by_role("button", name="Cancel").click()
    expect(job).to_have_attribute("data-state", "cancelled")


def test_a_nudge_shows_its_search_and_its_confirmation(seen: Seen) -> None:
    page = seen.go(f"x/{NAME}/nudge")
    expect(page.locator("#searched svg")).to_be_visible()
    expect(page.locator("#confirmed-on-fresh-seeds")).to_contain_text("seeds that the search")


def test_correlations_lead_to_the_moments_behind_them(seen: Seen) -> None:
    page = seen.go(f"corr/{NAME}")
    heat = page.locator(".heat canvas.cells")
    expect(heat).to_be_visible()
    heat.focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#evidence circle").first).to_be_attached()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#evidence .strip figure").first).to_be_visible()
    assert "metric=" in page.url


def test_dictionaries_are_compared_feature_by_feature(seen: Seen) -> None:
    page = seen.go(f"compare?d={NAME},layer2/k2")
    expect(page.locator("#scores")).to_contain_text("layer2/k2")
    matches = page.locator("#features-found-again tbody tr")
    expect(matches.first).to_be_visible()
    expect(matches.first.locator("td").nth(2)).to_have_text(re.compile(r"^[+−]?\d"))
    expect(matches.first.locator("td").nth(3)).to_have_text(re.compile(r"^[+−]?\d"))


def test_a_panel_is_linked_and_its_numbers_taken(light: Seen) -> None:
    page = light.go(f"f/{NAME}/0?panel=label")
    expect(page.locator("#label")).to_have_class(re.compile("meant"))
    panel = page.locator("#when-it-fires")
    with page.expect_download() as coming:
        panel.get_by_role("button", name="CSV").click()
    assert Path(coming.value.path()).read_text("utf-8").startswith("from,to,steps\n")
    with page.expect_download() as coming:
        panel.get_by_role("button", name="SVG").click()
    assert "<svg" in Path(coming.value.path()).read_text("utf-8")
    page = light.go("ep/main/0")
    with page.expect_download() as coming:
        page.locator("#lanes").get_by_role("button", name="SVG").click()
    assert "return so far" in Path(coming.value.path()).read_text("utf-8")


def test_pages_and_features_are_found_by_what_one_types(light: Seen) -> None:
    page = light.go("")
    expect(page.locator("#network")).to_be_visible()
    page.keyboard.press("Control+k")
    box = page.get_by_role("dialog").get_by_role("textbox")
    box.fill(f"{NAME}#3")
    expect(page.get_by_role("dialog").get_by_role("link").first).to_have_text(f"feature {NAME}#3")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("#3")
    page.keyboard.press("g")
    page.keyboard.press("c")
    expect(page.locator("h1")).to_contain_text("Correlations")


@pytest.mark.parametrize("width", [1440, 1024, 420])
@pytest.mark.parametrize(
    "place",
    [
        "",
        f"features/{NAME}",
        f"features/{NAME}?view=gallery",
        f"f/{NAME}/0",
        "episodes/main",
        "ep/main/0?w=2-6",
        "experiments",
        f"x/{NAME}/sweep",
        f"x/{NAME}/nudge",
        f"corr/{NAME}",
        f"compare?d={NAME},layer2/k2",
        "report",
    ],
)
def test_no_page_is_wider_than_the_window(light: Seen, place: str, width: int) -> None:
    light.page.set_viewport_size({"width": width, "height": 900})
    page = light.go(place)
    expect(page.locator("main .panel").first).to_be_visible()
    expect(page.get_by_text("Loading …")).to_have_count(0)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


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
    assert found.page.get_by_role("link", name="Live", exact=True).count() == 0
    for place, part in (
        (f"f/{NAME}/0", "#when-it-fires svg"),
        (f"features/{NAME}", "table.features"),
        ("episodes/main", "#episodes table"),
        (f"x/{NAME}/sweep", "#all-settings table"),
        (f"x/{NAME}/nudge", "#searched svg"),
        (f"corr/{NAME}?feature=0&metric=pole_angle", ".heat canvas.cells"),
    ):
        found.page.goto(f"{path.as_uri()}#/{place}")
        expect(found.page.locator(part)).to_be_visible()
        expect(found.page.get_by_role("alert")).to_have_count(0)
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
    # So slowly that no episode is over before the hand is there.
    page = light.go(f"live/{NAME}?fps=1")
    live = page.locator(".live")
    expect(live).to_have_attribute("data-step", re.compile(r"^\d+$"))
    page.get_by_role("button", name="new episode").click()
    page.get_by_role("button", name="take the controls").click()
    expect(page.locator(".keys")).to_contain_text("left")
    # Of two pushes to either side one is not what the agent does by itself.
    for key in ("ArrowLeft", "ArrowRight"):
        page.keyboard.down(key)
        for _ in range(2):
            expect(live).not_to_have_attribute("data-step", str(step_of(page)))
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


@pytest.mark.parametrize("place", [f"features/{NAME}", f"live/{NAME}"])
def test_a_page_says_that_its_server_is_gone_and_joins_again(
    browser: Any, shown_study: Study, place: str
) -> None:
    context = browser.new_context()
    with served(shown_study) as port:
        found = Seen(context.new_page(), f"http://127.0.0.1:{port}")
        page = found.go(place)
        expect(page.locator("main .panel").first).to_be_visible()
    expect(page.get_by_role("alert")).to_contain_text("server is gone")
    with served(shown_study, port):
        expect(page.get_by_role("alert")).to_have_count(0)
        page.get_by_role("link", name="Overview").click()
        expect(page.locator("#network")).to_contain_text("fc2:in")
        context.close()
    assert found.foreign == []
