"""The studio as somebody uses it: frames drawn, sliders, start, pages, memory, bundle and report.

    python -m benchmarks.studio [--quick] [--keep FOLDER]

Studies are made for real: CartPole's policy of the zoo, 200,000 recorded steps and a TopK
dictionary of 2,048 features with everything that `features` says of them; the dueling DQN of Enduro
in `../shared/agents` (or $POLICYSCOPE_AGENTS) with as wide a dictionary, left out where there is
none. The command `policyscope studio` serves them from a process of its own to Chromium without a
window, on the same machine.

Nothing the page says of itself is believed. A script that is there before the page counts frames by
what the page draws on the agent's canvas, at most one per animation frame, and takes the time of a
slider from the input event to the first picture drawn of a step that was steered so.

The table beside it is what one step costs when every code is sent as JSON, pictures as base64 text
within it: the obvious way, made and read by the same server and browser.
"""

import argparse
import base64
import gzip
import http.client
import io
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

os.environ.setdefault("NO_PROGRESS", "1")

from benchmarks.agents import ENDURO, FOLDER, checkpoint, suggested
from benchmarks.arms import machine
from policyscope.dictionaries.topk import TopK
from policyscope.recordings.frames import pillow
from policyscope.studies.study import Study
from policyscope.studio.app import STATIC
from policyscope.studio.play import Play, Start
from policyscope.studio.security import TOKEN_HEADER
from policyscope.studio.wire import png
from policyscope.table import Column, Table
from policyscope.zoo.system import train_agent

WIDTH, K = 2048, 32
STEPS, ATARI_STEPS = 200_000, 4000
PICTURED = 100
"""Features whose top moments are drawn, and features in the report."""
NAME = "wide"
JOINS = 10
SECONDS = 60
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
ARGUMENTS = (
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
MB = 2**20
WATCH = """
(() => {
  const seen = (window.seen = { steps: [], drawn: [], done: [], moved: [] });
  const Plain = window.WebSocket;
  window.WebSocket = class extends Plain {
    constructor(...given) {
      super(...given);
      this.addEventListener("message", ({ data }) => {
        if (typeof data === "string") return;
        const length = new DataView(data).getUint32(0, true);
        const said = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
        seen.steps.push([said.n, performance.now(), said.edits.map((one) => one.value), said.step,
          said.ended, data.byteLength]);
      });
    }
    send(text) {
      const said = JSON.parse(text);
      if (said.type === "ack") seen.done.push([said.n, performance.now()]);
      super.send(text);
    }
  };
  const plain = CanvasRenderingContext2D.prototype.drawImage;
  CanvasRenderingContext2D.prototype.drawImage = function (...given) {
    plain.apply(this, given);
    if (/^What the agent's world/.test(this.canvas.getAttribute("aria-label") ?? "")) {
      seen.drawn.push([performance.now(), document.timeline.currentTime]);
    }
  };
  document.addEventListener("input", (event) => {
    if (/^steer/.test(event.target.getAttribute("aria-label") ?? "")) {
      seen.moved.push([event.timeStamp, Number(event.target.value)]);
    }
  }, true);
})();
"""
GO = """
([place, wanted]) => new Promise((done) => {
  const began = performance.now();
  const look = () => {
    const found = document.querySelector("main h1, h1");
    const status = document.querySelector("[role=status]")?.textContent ?? "";
    const isThere = found?.textContent.includes(wanted) && !status.startsWith("Loading");
    if (isThere) requestAnimationFrame(() => done(performance.now() - began));
    else setTimeout(look, 2);
  };
  location.hash = place;
  setTimeout(look, 0);
})
"""


@dataclass(frozen=True)
class Figure:
    """One row of the table: what was measured, and what it must be."""

    what: str
    measured: str
    target: str
    is_met: bool | None
    more: str = ""


@dataclass(frozen=True)
class Amounts:
    """How much is measured."""

    seconds: float
    """Of live play."""
    moves: int
    starts: int
    pages: int


# CartPole's episode of this seed takes twelve seconds.
FULL, QUICK = Amounts(9, 30, 5, 100), Amounts(6, 10, 3, 30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, a few minutes")
    parser.add_argument("--keep", type=Path, help="where the studies are made, or lie already")
    given = parser.parse_args()
    if CHROMIUM is None:
        sys.exit("There is no Chromium on the PATH.")
    with ExitStack() as stack:
        folder = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        cartpole, enduro = make_cartpole(folder / "cartpole"), make_enduro(folder / "enduro")
        figures, beside = measure(cartpole, enduro, QUICK if given.quick else FULL)
    print()
    print(table_of(figures))
    print()
    print(beside)


def table_of(figures: Sequence[Figure]) -> Table:
    """All figures, and the machine they were measured on."""
    columns = (
        Column("what", side="left"),
        Column("measured", side="left"),
        Column("target", side="left"),
        Column("met", side="left"),
        Column("beside", side="left"),
    )
    said = {True: "yes", False: "NO", None: ""}
    rows = tuple((f.what, f.measured, f.target, said[f.is_met], f.more) for f in figures)
    return Table("The studio", columns, rows, machine())


# --- the studies ---------------------------------------------------------------------------------


def make_cartpole(folder: Path) -> Path:
    """CartPole with 200,000 steps, 2,048 features, and what is known of each; its directory."""
    if (folder / "features" / NAME / "features.json").exists():
        return folder
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "cartpole.safetensors"
        train_agent("cartpole", file, seed=0, quick=False)
        study = Study.create(folder, agent=str(file), env="CartPole-v1")
    study.record(sites=["fc2:in", "fc3:in"], steps=STEPS)
    timed("fit", lambda: fit(study, "fc2:in"))
    table = timed("features", lambda: study.features(NAME))
    alive = [card for card in table.cards if not card.is_dead][:PICTURED]
    moments = [str(top.address("main")) for card in alive for top in card.top]
    timed("frames", lambda: study.frames(moments=moments))
    return folder


def make_enduro(folder: Path) -> Path | None:
    """The dueling DQN of Enduro with as wide a dictionary; None where its weights are not."""
    file = FOLDER / ENDURO / "duelddqn_enduro.pth"
    if not file.exists():
        print(f"There is no {file}; Atari is left out.", file=sys.stderr)
        return None
    if (folder / "dictionaries" / NAME).exists():
        return folder
    entry = {"dir": ENDURO, "files": [file.name]}
    study = Study.create(folder, agent=str(checkpoint(entry)), env="EnduroNoFrameskip-v4")
    site = suggested(study.agent, study.inspect())[0]
    study.record(sites=[site], steps=ATARI_STEPS)
    timed("fit", lambda: fit(study, site))
    return folder


def fit(study: Study, site: str) -> None:
    """A TopK dictionary, fitted for as long as it takes to be one."""
    epochs = max(2, 400_000 // study.recording().steps)
    study.fit(TopK(WIDTH, k=K), reads=site, writes=site, name=NAME, seeds=1, epochs=epochs)


def timed(what: str, work: Callable[[], Any]) -> Any:
    """Does it, and says on stderr how long it took."""
    began = time.process_time()
    found = work()
    print(f"{what}: {time.process_time() - began:.1f} CPU s", file=sys.stderr, flush=True)
    return found


# --- a studio ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Studio:
    """A studio that runs as a process of its own."""

    process: subprocess.Popen[str]
    url: str
    ready: float
    """Seconds from the command to the first page with what it shows."""

    @property
    def base(self) -> str:
        """Its address, without the token."""
        return self.url.partition("/?")[0]

    @property
    def token(self) -> str:
        """What lets in."""
        return parse_qs(urlsplit(self.url).query)["token"][0]

    def memory(self) -> tuple[float, float]:
        """Resident memory now and at most, in MB."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return tuple(
            int(re.search(rf"{name}:\s+(\d+) kB", text).group(1)) / 1024
            for name in ("VmRSS", "VmHWM")
        )  # type: ignore[return-value]

    @contextmanager
    def asking(self) -> Iterator[Callable[[str], tuple[float, bytes]]]:
        """Gives what asks for one path after the other: milliseconds, and the answer."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=SECONDS)

        def ask(path: str) -> tuple[float, bytes]:
            began = time.perf_counter()
            connection.request("GET", path, headers={TOKEN_HEADER: self.token})
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{path}: {answer.status} {body[:200]!r}")
            return 1000 * (time.perf_counter() - began), body

        yield ask
        connection.close()


@contextmanager
def serving(study: Path) -> Iterator[Studio]:
    """`policyscope studio` in a process, as from a shell."""
    # As for a user, whose package has been compiled.
    left_out = ("OMP_NUM_THREADS", "PYTHONDONTWRITEBYTECODE")
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "policyscope.cli", "studio", str(study), "--no-open"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        if not url:
            raise RuntimeError(f"The studio of {study} did not start.")
        said = time.perf_counter() - began
        studio = Studio(process, url, said)
        with studio.asking() as ask:
            ask(f"/?token={studio.token}")
            ask("/api/overview")
        yield replace(studio, ready=time.perf_counter() - began)
    finally:
        process.terminate()
        process.wait(SECONDS)


def measure(cartpole: Path, enduro: Path | None, amounts: Amounts) -> tuple[list[Figure], Table]:
    """Everything, one after the other; says each figure as it comes."""
    from playwright.sync_api import sync_playwright

    figures: list[Figure] = []

    def say(*found: Figure) -> None:
        for one in found:
            print(f"{one.what}: {one.measured} {one.more}", file=sys.stderr, flush=True)
            figures.append(one)

    say(measure_start(cartpole, amounts))
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        with serving(cartpole) as studio:
            say(*measure_live("CartPole", studio, browser, amounts))
            say(*measure_pages(studio, browser, amounts))
            say(measure_memory(studio, browser))
            beside = measure_beside(cartpole, enduro, browser)
        if enduro is not None:
            with serving(enduro) as studio:
                say(*measure_live("Enduro", studio, browser, amounts))
        say(measure_bundle())
        say(*measure_report(cartpole, browser))
        browser.close()
    return figures, beside


def measure_start(study: Path, amounts: Amounts) -> Figure:
    """Seconds until the page can be had."""
    found, used = [], []
    with serving(study):
        pass  # the first one compiles
    for _ in range(amounts.starts):
        with serving(study) as studio:
            found.append(studio.ready)
            used.append(cpu_of(studio))
    middle = statistics.median(found)
    what = f"studio ready after the command, {STEPS:,} steps and {WIDTH:,} features"
    span = f"{min(found):.2f}–{max(found):.2f} of {len(found)}, {statistics.median(used):.2f} CPU s"
    span += f", load {os.getloadavg()[0]:.1f}"
    return Figure(what, f"{middle:.2f} s", "≤ 3 s", middle <= 3, span)


# --- live ----------------------------------------------------------------------------------------


def measure_live(agent: str, studio: Studio, browser: Any, amounts: Amounts) -> list[Figure]:
    """Frames per second, and milliseconds from a slider to what it changed."""
    page = browser.new_page()
    page.set_default_timeout(1000 * SECONDS)
    page.add_init_script(WATCH)
    page.goto(f"{studio.url}#/live/{NAME}?seed=3")
    until(page, "window.seen.drawn.length > 30")
    began = page.evaluate("performance.now()")
    load = os.getloadavg()[0]
    steps = page.evaluate("window.seen.steps.at(-1)[3]")
    cpu, chromium = cpu_of(studio), cpu_of_chromium(studio)
    page.wait_for_timeout(1000 * amounts.seconds)
    ended = page.evaluate("performance.now()")
    seen = page.evaluate("window.seen")
    if seen["steps"][-1][4] is not None:
        raise RuntimeError(f"{agent}'s episode was over too soon: nothing was left to draw.")
    seconds = (ended - began) / 1000
    cpu = (cpu_of(studio) - cpu) / seconds
    chromium = (cpu_of_chromium(studio) - chromium) / seconds
    ticks = {tick for at, tick in seen["drawn"] if began <= at <= ended}
    rate = len(ticks) / seconds
    steps = (seen["steps"][-1][3] - steps) / seconds
    size = statistics.median(one[5] for one in seen["steps"]) / 1024
    seen = move_slider(page, amounts.moves)
    page.close()
    found = milliseconds(seen)
    times = [at for at, _ in seen["drawn"] if at > ended]
    # Where an episode is over, nothing moves until the next begins.
    gaps = [b - a for a, b in pairwise(times) if b - a < 500]
    steered = 1000 * len(gaps) / sum(gaps)
    middle = statistics.median(found)
    kind = f"live {agent}, {WIDTH:,} features, 30 Hz with its twin"
    return [
        Figure(
            f"{kind}: frames drawn",
            f"{rate:.1f} /s",
            "≥ 25 /s",
            rate >= 25,
            f"{steps:.1f} steps/s, {size:.0f} kB each; of a core the server takes {cpu:.0%} and "
            f"Chromium {chromium:.0%}; load {load:.1f}",
        ),
        Figure(
            f"{kind}: slider to first steered frame",
            f"{middle:.0f} ms",
            "≤ 100 ms",
            middle <= 100,
            f"{min(found):.0f}–{max(found):.0f} of {len(found)}; {steered:.1f} frames/s meanwhile",
        ),
    ]


def until(page: Any, said: str) -> None:
    """Waits until something is so; the page itself may evaluate nothing."""
    ends = time.monotonic() + SECONDS
    while not page.evaluate(said):
        if time.monotonic() > ends:
            raise TimeoutError(said)
        page.wait_for_timeout(20)


def cpu_of(studio: Studio) -> float:
    """CPU seconds that the server has used."""
    return processes()[studio.process.pid][1]


def cpu_of_chromium(studio: Studio) -> float:
    """CPU seconds of whatever else this process has started."""
    known = processes()
    total, left = 0.0, [os.getpid()]
    while left:
        parent = left.pop()
        for number, (of, seconds) in known.items():
            if of == parent and number != studio.process.pid:
                total += seconds
                left.append(number)
    return total


def processes() -> dict[int, tuple[int, float]]:
    """Every process with its parent and its CPU seconds."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            found[int(path.parent.name)] = (int(fields[1]), seconds)
    return found


def move_slider(page: Any, moves: int) -> Any:
    """Clicks at so many places of a slider while the agent plays; what was seen meanwhile."""
    fires = page.locator(".nows .now").first.locator("button[aria-label^='Steer ']")
    fires.click()
    slider = page.locator(".edit input[type=range]")
    draw = random.Random(0)
    side = 1
    for _ in range(moves):
        if page.evaluate("window.seen.steps.at(-1)[4] !== null"):
            page.get_by_role("button", name="next seed").click()
            until(page, "window.seen.steps.at(-1)[4] === null && window.seen.steps.at(-1)[3] > 3")
        # Not the middle, which is none; not beyond half a maximum, which would end the episode.
        side = -side
        share = 0.5 + side * draw.uniform(0.03, 0.12)
        box = slider.bounding_box()
        page.mouse.click(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
        page.wait_for_timeout(400 + 300 * draw.random())
    return page.evaluate("window.seen")


def milliseconds(seen: Any) -> list[float]:
    """For each move of the slider: until a step that was steered so had been drawn."""
    found = []
    for at, value in seen["moved"]:
        if value == 0:
            continue
        numbers = [n for n, came, edits, *_ in seen["steps"] if came >= at and value in edits]
        ends = [when for n, when in seen["done"] if numbers and n >= numbers[0]]
        drawn = [when for when, _ in seen["drawn"] if ends and when <= ends[0]]
        if drawn and drawn[-1] >= at:
            found.append(drawn[-1] - at)
    return found


# --- pages ---------------------------------------------------------------------------------------


def measure_pages(studio: Studio, browser: Any, amounts: Amounts) -> list[Figure]:
    """How long the page of a feature takes, asked for and drawn; visits all other pages too."""
    features = random.Random(1).sample(range(WIDTH), amounts.pages + 1)
    with studio.asking() as ask:
        ask("/api/overview")
        first, _ = ask(f"/api/feature/{NAME}/{features[0]}")
        asked = [ask(f"/api/feature/{NAME}/{index}")[0] for index in features[1:]]
        others = {
            path: ask(f"/api/{path}")[0]
            for path in ("overview", f"features/{NAME}", f"correlations/{NAME}", "episodes/main")
        }
    page = browser.new_page()
    page.set_default_timeout(1000 * SECONDS)
    page.goto(studio.url)
    page.wait_for_selector("text=Dictionaries")
    drawn = []
    for index in random.Random(2).sample(range(WIDTH), amounts.pages):
        drawn.append(page.evaluate(GO, [f"#/f/{NAME}/{index}", f"#{index}"]))
        page.wait_for_timeout(50)
    table = page.evaluate(GO, [f"#/features/{NAME}", "eatures"])
    page.close()
    middle = statistics.median(drawn)
    request = statistics.median(asked)
    other = ", ".join(f"{path.partition('/')[0]} {ms:.0f}" for path, ms in others.items())
    return [
        Figure(
            "feature page drawn",
            f"{middle:.0f} ms",
            "≤ 300 ms",
            middle <= 300,
            f"{min(drawn):.0f}–{max(drawn):.0f} of {len(drawn)}",
        ),
        Figure(
            "its request alone",
            f"{request:.0f} ms",
            "",
            None,
            f"{min(asked):.0f}–{max(asked):.0f}; the first {first:.0f}; {other}",
        ),
        Figure(f"table of {WIDTH:,} features drawn", f"{table:.0f} ms", "", None),
    ]


def measure_memory(studio: Studio, browser: Any) -> Figure:
    """Resident memory after all those pages and some more live play, and the most there was."""
    for _ in range(JOINS):
        page = browser.new_page()
        page.add_init_script(WATCH)
        page.goto(f"{studio.url}#/live/{NAME}?fps=60")
        until(page, "window.seen.drawn.length > 10")
        page.close()
    now, most = studio.memory()
    return Figure(
        f"memory of the server after all that and {JOINS} times live",
        f"{now:.0f} MB",
        "≤ 1 GB",
        most <= 1024,
        f"at most {most:.0f} MB",
    )


# --- files ---------------------------------------------------------------------------------------


def measure_bundle() -> Figure:
    """What a browser fetches before it shows anything."""
    sizes = {
        name: len(gzip.compress((STATIC / name).read_bytes()))
        for name in ("index.html", "app.js", "app.css")
    }
    total = sum(sizes.values()) / 1000
    more = ", ".join(f"{name} {size / 1000:.1f}" for name, size in sizes.items())
    return Figure("bundle, gzipped", f"{total:.0f} kB", "≤ 150 kB", total <= 150, more)


def measure_report(study: Path, browser: Any) -> list[Figure]:
    """The size of a file with 100 features, and what goes on when it is opened from disk."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "study.html"
        command = ["studio", str(study), "--export", str(file)]
        subprocess.run(
            [sys.executable, "-m", "policyscope.cli", *command],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        size = file.stat().st_size / 1e6
        page = browser.new_page()
        asked: list[str] = []
        trouble: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("console", lambda said: said.type == "error" and trouble.append(said.text))
        page.goto(file.as_uri())
        page.wait_for_selector("text=Dictionaries")
        page.evaluate(GO, [f"#/features/{NAME}", "eatures"])
        index = page.locator("a[href*='#/f/']").first.get_attribute("href")
        features = page.evaluate(
            "Object.keys(JSON.parse(document.getElementById('documents').textContent))"
            ".filter((one) => one.startsWith('feature/')).length"
        )
        page.evaluate(GO, [index, "#"])
        page.wait_for_timeout(300)
        page.close()
    strange = [url for url in asked if not url.startswith(("data:", "blob:", file.as_uri()))]
    return [
        Figure(
            f"report with {features} features", f"{size:.2f} MB", "≤ 5 MB",
            size <= 5 and features >= PICTURED,
        ),
        Figure(
            "opened from disk",
            f"{len(strange)} requests, {len(trouble)} errors",
            "none",
            not strange and not trouble,
            "; ".join([*strange, *trouble])[:120],
        ),
    ]  # fmt: skip


# --- beside the obvious way ----------------------------------------------------------------------


def measure_beside(cartpole: Path, enduro: Path | None, browser: Any) -> Table:
    """One step as a message: ours, and all codes as JSON with the pictures as text."""
    page = browser.new_page()
    rows: list[tuple[Any, ...]] = []
    for agent, folder in (("CartPole", cartpole), ("Enduro", enduro)):
        if folder is not None:
            play = Play(Study.open(folder), Start(NAME, seed=3))
            rows += rows_beside(agent, play, page)
            play.close()
    page.close()
    columns = (
        Column("agent", side="left"),
        Column("message of one step", side="left"),
        Column("kB", ".1f"),
        Column("made in ms", ".2f"),
        Column("read in ms", ".2f"),
    )
    return Table("One step on its way to the page", columns, tuple(rows), machine())


def rows_beside(agent: str, play: Play, page: Any) -> Iterator[tuple[Any, ...]]:
    """Both ways, and what the parts of a step cost beside."""

    def ours() -> bytes:
        return play.message({"n": 1, "playing": True})

    def row(way: str, make: Callable[[], bytes], read: str) -> tuple[Any, ...]:
        message = make()
        text = base64.b64encode(message).decode()
        return agent, way, len(message) / 1024, best(make), page.evaluate(read, text)

    for _ in range(30):
        play.advance()
    yield row("ours, while the twin looks the same", ours, READ)
    for _ in range(4):
        play.act(1 - min(1, int(play.sight.action[1])))
        play.advance()
    play.act(None)
    yield row("ours", ours, READ)
    yield row("every code as JSON, pictures by Pillow", lambda: obvious(play), READ_JSON)
    pictures = [play.live.picture(row) for row in range(play.live.rows)]
    parts: dict[str, Callable[[], Any]] = {
        "drawing the world twice": lambda: [play.live.picture(row) for row in (0, 1)],
        "both pictures as PNG": lambda: [png(one) for one in pictures],
        "both pictures as PNG by Pillow": lambda: [by_pillow(one) for one in pictures],
        "all but the pictures": play.header,
        "look: two rows think, codes": play.look,
        "a step: the world, and look": play.advance,
    }
    for part, work in parts.items():
        yield agent, f"  {part}", None, best(work), None


def obvious(play: Play) -> bytes:
    """All codes of both rows and the pictures, as one JSON text."""
    header = {
        **play.header(),
        "codes": play.sight.codes.tolist(),
        "pictures": [
            base64.b64encode(by_pillow(play.live.picture(row))).decode() for row in range(2)
        ],
    }
    return json.dumps(header).encode()


def by_pillow(picture: Any) -> bytes:
    """The picture as a PNG file, with the least compression that Pillow has."""
    file = io.BytesIO()
    pillow().fromarray(picture).save(file, "PNG", compress_level=1)
    return file.getvalue()


def best(work: Callable[[], Any], times: int = 15) -> float:
    """Milliseconds, the median of some."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        found.append(1000 * (time.perf_counter() - began))
    return statistics.median(found)


READ = """
async (text) => {
  const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
  const found = [];
  for (let i = 0; i < 15; i += 1) {
    const began = performance.now();
    const length = new DataView(bytes.buffer).getUint32(0, true);
    const said = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
    let from = 4 + length;
    const pictures = said.frames.filter((size) => size > 0)
      .map((size) => new Blob([bytes.subarray(from, (from += size))]));
    const drawn = await Promise.all(pictures.map((one) => createImageBitmap(one)));
    drawn.forEach((one) => one.close());
    found.push(performance.now() - began);
  }
  return found.sort((a, b) => a - b)[7];
}
"""
READ_JSON = """
async (text) => {
  const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
  const found = [];
  for (let i = 0; i < 15; i += 1) {
    const began = performance.now();
    const said = JSON.parse(new TextDecoder().decode(bytes));
    const pictures = said.pictures.map(
      (one) => new Blob([Uint8Array.from(atob(one), (c) => c.charCodeAt(0))]));
    const drawn = await Promise.all(pictures.map((one) => createImageBitmap(one)));
    drawn.forEach((one) => one.close());
    found.push(performance.now() - began);
  }
  return found.sort((a, b) => a - b)[7];
}
"""

if __name__ == "__main__":
    main()
