"""Takes the pictures of docs/studio.md: a real study, the real studio, Chromium.

    python docs/pictures.py                  docs/images/studio-*.png, from the demonstration
    python docs/pictures.py --study FOLDER   from another study; where there is none it is made
    python docs/pictures.py --every FOLDER   every page, light and dark, in three sizes

It needs `policyscope[frames]`, playwright, and Chromium on the PATH; the study takes a few minutes.
"""

import argparse
import io
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

from policyscope.cli import main as policyscope
from policyscope.studies.study import Study
from policyscope.studies.views.views import Views
from policyscope.studio.app import create_app
from policyscope.studio.server import Server, listen
from policyscope.studio.token import new_token

IMAGES = Path(__file__).parent / "images"
USUAL = Path("studies/cartpole")
MOST_BYTES = 200_000
COLOURS = 128
PATIENCE = 60_000
SIZES = ((1440, 900), (1024, 768), (420, 900))
STEPS = 60
"""Of live play before its picture is taken."""


def build(directory: Path) -> None:
    """A study with something on every page: the demonstration, a wide dictionary, frames."""
    name, wide = "layer2/k8", "layer2/wide"
    sites = "--reads fc2:in --writes fc3:in"
    for words in (
        f"demo --out {directory}",
        f"fit {directory} {sites} --name {wide} --seeds 1 topk --width 96 --k 6",
        f"features {directory} {wide}",
        f"score {directory} {wide}",
        f"frames {directory} --dictionary {name} --episode 0 1",
        f"frames {directory} --dictionary {wide}",
    ):
        if policyscope(words.split()) != 0:
            raise SystemExit(f"policyscope {words} failed.")


def places(study: Study) -> dict[str, str]:
    """The address of every page, by the name of its picture."""
    names = described(study)
    name = shown(study)
    wide = max(names, key=lambda one: len(study.dictionary(one)))
    feature, second = strongest(study, name)[:2]
    nudged = next(
        (n for n in ("all", *names) if study.result("experiments", n, "nudge.json")), None
    )
    recording = study.recording().name
    pins = f"pins={name}%23{feature}|{name}%23{second}"
    found = {
        "overview": "",
        "features": f"features/{wide}",
        "gallery": f"features/{wide}?view=gallery&alive=alive",
        "feature": f"f/{name}/{feature}",
        "episodes": f"episodes/{recording}",
        "player": f"ep/{recording}/0?{pins}&t=70&w=40-80&d={name}",
        "live": f"live/{name}?edits={feature}:steer:0.35&{pins}",
        "experiments": "experiments",
        "sweep": f"x/{name}/sweep",
        "correlations": f"corr/{wide}?metric={metric_of(study, wide)}",
        "compare": f"compare?d={name},{wide}",
        "report": "report",
    }
    return found if nudged is None else {**found, "nudge": f"x/{nudged}/nudge"}


def described(study: Study) -> list[str]:
    """The dictionaries whose features were looked at."""
    names = study.dictionaries()
    return [name for name in names if study.result("features", name, "features.json")]


def shown(study: Study) -> str:
    """The dictionary that most pages show: a swept one, of eight features if there is one."""
    names = described(study)
    swept = [name for name in names if study.result("experiments", name, "sweep.json")]
    return next((one for one in reversed(swept) if one.endswith("k8")), (swept or names)[-1])


def draw(study: Study) -> None:
    """Stores pictures of every moment on the page of the feature that is shown."""
    name = shown(study)
    page = Views(study).get(f"feature/{name}/{strongest(study, name)[0]}")
    study.frames(moments=[one["moment"] for group in page["intervals"] for one in group["moments"]])


def strongest(study: Study, name: str) -> list[int]:
    """The living features of a dictionary: those whose effect was confirmed first, then by r."""
    found = study.result("features", name, "features.json") or {}
    alive = [card for card in found["features"] if not card["dead"]]

    swept = study.result("experiments", name, "sweep.json") or {"conditions": []}
    sure = {one["feature"] for one in swept["conditions"] if one["confirmed"]}

    def most(card: dict[str, Any]) -> tuple[bool, float]:
        r = max((abs(one["r"] or 0.0) for one in card["correlations"].values()), default=0.0)
        return card["index"] in sure, r

    return [card["index"] for card in sorted(alive, key=most, reverse=True)]


def metric_of(study: Study, name: str) -> str:
    """A metric and the feature that goes with it most, as the correlations page is asked for it."""
    found = study.result("features", name, "features.json") or {}
    feature = strongest(study, name)[0]
    card = found["features"][feature]
    metric = max(card["correlations"], key=lambda one: abs(card["correlations"][one]["r"] or 0.0))
    return f"{metric}&feature={feature}"


@contextmanager
def served(study: Study) -> Iterator[tuple[str, str]]:
    """A studio that runs meanwhile: its address and its token."""
    listening, token, is_ready = listen("127.0.0.1", 0), new_token(), threading.Event()
    server = Server(create_app(study, token), is_ready.set)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        is_ready.wait()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", token
    finally:
        server.should_exit = True
        thread.join()


def visit(page: Page, base: str, token: str, name: str, place: str) -> None:
    """Goes to a page and waits until it shows what it is about."""
    page.goto("about:blank")
    page.goto(f"{base}/?token={token}#/{place}")
    expect(page.locator("main .panel").first).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_text("Loading …")).to_have_count(0, timeout=PATIENCE)
    if name == "live":
        played = re.compile(rf"^([{STEPS // 10}-9]\d|\d{{3,}})$")
        expect(page.locator(".live")).to_have_attribute("data-step", played, timeout=PATIENCE)
        page.keyboard.press(" ")
    # Sheets of frames come after the documents that name them.
    page.wait_for_timeout(600)


def small(picture: bytes) -> bytes:
    """A screenshot with fewer colours, which text and charts do not miss."""
    colours = COLOURS
    while True:
        image = Image.open(io.BytesIO(picture)).convert("RGB").quantize(colours)
        found = io.BytesIO()
        image.save(found, "PNG", optimize=True)
        if found.tell() < MOST_BYTES or colours <= 16:
            return found.getvalue()
        colours //= 2


def take(study: Study, out: Path, every: bool) -> None:
    """Takes the pictures."""
    out.mkdir(parents=True, exist_ok=True)
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with served(study) as (base, token), sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for theme in ("light", "dark"):
            for width, height in SIZES if every else SIZES[:1]:
                viewport = {"width": width, "height": height}
                context = browser.new_context(color_scheme=theme, viewport=viewport)
                page = context.new_page()
                page.on("pageerror", lambda error: print("page error:", error))
                for name, place in places(study).items():
                    visit(page, base, token, name, place)
                    if every:
                        path = out / f"{name}-{theme}-{width}.png"
                        page.screenshot(path=path, full_page=name != "live")
                    elif theme == ("dark" if name == "live" else "light"):
                        (out / f"studio-{name}.png").write_bytes(small(page.screenshot()))
                context.close()
        browser.close()


def main() -> None:
    """Parses what is asked for, and does it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--study", type=Path, default=USUAL, metavar="FOLDER")
    parser.add_argument("--every", type=Path, metavar="FOLDER")
    given = parser.parse_args()
    if not (given.study / "study.json").exists():
        build(given.study)
    study = Study.open(given.study)
    draw(study)
    take(study, given.every or IMAGES, given.every is not None)


if __name__ == "__main__":
    main()
