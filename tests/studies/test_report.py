"""The report shows what a study holds, says what it lacks, and needs nothing but itself."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from policyscope.agents.adapters.torch import TorchAgent
from policyscope.agents.architectures import MLP
from policyscope.dictionaries.relu import ReLU
from policyscope.studies import sections
from policyscope.studies.charts import signed
from policyscope.studies.findings import typeset
from policyscope.studies.labels import GivenLabel, Labels
from policyscope.studies.plot import is_number
from policyscope.studies.report import fixed, probability, script_hash, write_report
from policyscope.studies.study import Study

CHROMIUM = next(
    (
        found
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (found := shutil.which(name))
    ),
    None,
)
QUIET = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*7 }}'

SIZES = {
    "advised": 3,
    "reason": "Use 3: median unexplained 0.123; 3 of 3 features alive and distinct.",
    "criterion": "a criterion",
    "rows": [
        {
            "width": 3.0,
            "seeds": 3.0,
            "unexplained": 0.123,
            "unexplained_best": 0.101,
            "unexplained_worst": None,
            "alive": 3.0,
            "distinct": 3.0,
            "stability": 0.654,
            "chance": 0.321,
        }
    ],
    "descents": {"first/k2": [{"feature": 1, "fate": "split", "children": [0, 2]}]},
}


def agent() -> TorchAgent:
    torch.manual_seed(0)
    return TorchAgent(MLP([4, 16, 2]), name="tiny", environment="CartPole-v1")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A whole study, small in everything."""
    made = Study.create(tmp_path_factory.mktemp("report") / "study", agent=agent())
    made.evaluate(episodes=6)
    reads, writes = (str(site.site) for site in made.inspect().sites[:2])
    made.record(sites=[reads, writes], metrics=["pole_angle"], episodes=12)
    for width in (2, 3):
        one = ReLU(width=width)
        one.name = f"first/k{width}"
        made.fit_sizes([one], reads=reads, writes=writes, penalties=(1e-3,), seeds=3, epochs=3)
    made.keep({"reads": reads, "writes": writes, **SIZES}, "features", "sizes-first.json")
    for name in made.dictionaries():
        made.features(name)
        made.score(name, episodes=4)
        made.sweep(name, alphas=(-1.0, 1.0), episodes=4, random_directions=3)
    made.nudge("first/k3", alphas=(-1.0, 1.0), episodes=6, confirm=6, random_directions=3)
    return made


@pytest.fixture(scope="module")
def page(study: Study) -> str:
    return write_report(study).path.read_text("utf-8")


@pytest.fixture
def copy(study: Study, tmp_path: Path) -> Study:
    """A study of one's own to take apart."""
    shutil.copytree(study.directory, tmp_path / "study")
    return Study.open(tmp_path / "study", agent=agent())


class Ids(HTMLParser):
    """Gathers the ids of a page, its inner links, and everything it would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name == "href" and tag == "a":
                self.links.append(value or "")
            elif name in ("src", "href", "srcset", "action"):
                self.fetched.append(value or "")
            elif name.startswith("on"):
                self.handlers.append(name)


def read(page: str) -> Ids:
    found = Ids()
    found.feed(page)
    return found


def visible(page: str) -> str:
    """The page's text, without markup."""
    bare = re.sub(r"<(style|script).*?</\1>", "", page, flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", bare))


def test_report_lies_in_the_study_and_is_whole(study: Study, page: str) -> None:
    assert write_report(study).path == study.directory / "reports" / "report.html"
    assert page.rstrip().endswith("</html>")
    assert not list((study.directory / "reports").glob(".*"))


def test_report_goes_where_it_is_told(study: Study, tmp_path: Path, page: str) -> None:
    out = tmp_path / "new" / "place.html"
    assert write_report(study, out).path == out
    assert out.read_text("utf-8") == page


def test_frames_that_cannot_be_shown_are_said(copy: Study) -> None:
    folder = copy.directory / "recordings" / "main" / "frames"
    folder.mkdir()
    (folder / "ep0-0000.json").write_text("{}")
    text = visible(write_report(copy).path.read_text("utf-8"))
    assert "Stored frames cannot be shown" in text


def test_labels_that_were_given_are_shown_with_the_scores_there_are(copy: Study) -> None:
    name = next(iter(sections.read_results(copy).features))
    cards = sections.read_results(copy).features[name]["features"]
    card = next(one for one in cards if one["label"] and one["label"]["rule"])
    index, rule = card["index"], card["label"]
    labels = Labels(copy.directory)
    scores = {"precision": 1.0, "recall": 1.0, "auroc": 1.0, "base_rate": 0.1, "support": 12}
    labels.add(
        GivenLabel(
            name, index, "as a model says", "guess", author="m", source="llm", rule="x > 1",
            episodes=3, target="activation > 0", **scores,
        )
    )  # fmt: skip
    text = visible(write_report(copy).path.read_text("utf-8"))
    assert "as a model says" in text
    assert "precision 1.00 , recall 1.00 , AUROC 1.00" in " ".join(text.split())
    # Words of a person have no scores of their own: the rule and its scores stay beside them.
    labels.add(GivenLabel(name, index, HOSTILE, "tested", author="ada"))
    page = write_report(copy).path.read_text("utf-8")
    assert HOSTILE not in page
    text = " ".join(visible(page).split())
    assert "alert(1)" in text
    assert f"the rule and its scores are of “{rule['text']}”" in text


def test_pictures_of_a_page_are_bounded(copy: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pygame", reason="needs the extra [frames]")
    name = copy.dictionaries()[0]
    copy.frames(dictionary=name)
    whole = sections.pictures(copy, sections.read_results(copy)).by_moment
    assert len(whole) > 1
    monkeypatch.setattr(sections, "PICTURE_BYTES", len(next(iter(whole.values()))))
    few = sections.pictures(copy, sections.read_results(copy)).by_moment
    assert list(few) == list(whole)[:1]
    page = write_report(copy).path.read_text("utf-8")
    assert all(one.startswith("data:image/webp;base64,") for one in read(page).fetched)


def test_report_is_deterministic(study: Study, page: str) -> None:
    assert write_report(study).path.read_text("utf-8") == page


def test_links_lead_somewhere_and_ids_are_unique(page: str) -> None:
    found = read(page)
    assert len(found.ids) == len(set(found.ids))
    assert {link.removeprefix("#") for link in found.links} <= set(found.ids)


def test_page_fetches_nothing(page: str) -> None:
    found = read(page)
    assert found.fetched == []
    assert found.handlers == []
    assert not re.search(r"https?://", page)


def test_only_the_own_script_may_run(page: str) -> None:
    script = re.search(r"<script>(.*?)</script>", page, re.S)
    assert script is not None
    assert f"'sha256-{script_hash(script[1])}'" in page


def test_report_carries_the_numbers_of_the_study(study: Study, page: str) -> None:
    text = visible(page)
    evaluation = study.result("experiments", "evaluate.json")
    assert evaluation is not None
    assert f"{evaluation['return_mean']:.1f}" in text
    assert study.manifest.agent["fingerprint"] in text
    for name in study.dictionaries():
        score, sweep = (
            study.result("features", name, "score.json"),
            study.result("experiments", name, "sweep.json"),
        )
        features = study.result("features", name, "features.json")
        assert score is not None
        assert sweep is not None
        assert features is not None
        assert fixed(study.notes(name)["unexplained"]) in text
        assert fixed(score["kl"], 4) in text
        for condition in sweep["conditions"]:
            assert f"{signed(condition['difference'])}" in text
            assert probability(condition["p_corrected"]) in text
        for card in features["features"]:
            assert card["label"]["text"] in text
            assert card["dead"] or fixed(card["max"]) in text
    assert SIZES["reason"] in text
    assert "split as #0, #2" in text
    nudge = study.result("experiments", "first/k3", "nudge.json")
    assert nudge is not None
    assert typeset(nudge["verdict"]).split(". ")[-1] in text.replace("&lt;", "<")


def test_every_swept_feature_has_a_card_with_its_figures(study: Study, page: str) -> None:
    for name in study.dictionaries():
        sweep = study.result("experiments", name, "sweep.json")
        assert sweep is not None
        for feature in {condition["feature"] for condition in sweep["conditions"]}:
            card = re.search(
                rf"<article(?:(?!</article>).)*{name}#{feature}<.*?</article>", page, re.S
            )
            assert card is not None
            assert card[0].count("<svg") >= 4


def test_a_full_study_lacks_nothing(page: str) -> None:
    assert "Not in this study yet" not in page


@pytest.mark.parametrize(
    ("missing", "command"),
    [
        ("recordings", "policyscope record"),
        ("dictionaries", "policyscope fit"),
        ("features", "policyscope features"),
        ("features/first/k2/score.json", "policyscope score"),
        ("experiments", "policyscope nudge"),
        ("experiments/evaluate.json", "policyscope evaluate"),
        ("experiments/first/k3/sweep.json", "policyscope sweep"),
        ("dictionaries/first/k3/curves.csv", ""),
        ("features/first/k3/features.json", "policyscope features"),
    ],
)
def test_missing_parts_are_named_with_their_command(
    copy: Study, missing: str, command: str
) -> None:
    place = copy.directory / missing
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    text = visible(write_report(copy).path.read_text("utf-8"))
    assert command in text
    assert "Methods and limits" in text


def test_an_empty_study_has_a_report(tmp_path: Path) -> None:
    fresh = Study.create(tmp_path / "fresh", agent=agent())
    text = visible(write_report(fresh).path.read_text("utf-8"))
    assert "It has not been evaluated" in text
    assert "policyscope record" in text


def test_unknown_numbers_are_dashes(copy: Study) -> None:
    for path in copy.directory.glob("**/*.json"):
        if path.name in ("sweep.json", "score.json"):
            document = json.loads(path.read_text("utf-8"))
            for condition in document.get("conditions", []):
                condition |= {"random_low": None, "random_high": None, "action_agreement": None}
            document |= {
                key: None for key in ("kl", "action_agreement", "return_kept") if key in document
            }
            path.write_text(json.dumps(document), "utf-8")
    text = visible(write_report(copy).path.read_text("utf-8"))
    assert "None" not in text.replace("None looked better", "")
    assert "nan" not in text.lower().split()


def rewrite(place: Path, change: Callable[[dict], None]) -> None:
    document = json.loads(place.read_text("utf-8"))
    change(document)
    place.write_text(json.dumps(document), "utf-8")


def test_hostile_names_are_escaped(copy: Study) -> None:
    folder = copy.directory

    def taint_study(document: dict) -> None:
        document["agent"]["name"] = document["agent"]["algorithm"] = HOSTILE
        document["versions"][HOSTILE] = HOSTILE

    def taint_features(document: dict) -> None:
        document["recording"] = HOSTILE
        for card in document["features"]:
            card["label"] |= {"text": HOSTILE, "rule": HOSTILE, "note": HOSTILE, "status": HOSTILE}
            card["correlations"][HOSTILE] = {
                "r": 0.1,
                "low": 0.0,
                "high": 0.2,
                "episodes": 3,
                "note": "",
            }
            for top in card["top"]:
                top["moment"] = HOSTILE
                top["metrics"][HOSTILE] = 1.0

    def taint_sweep(document: dict) -> None:
        document["baseline"]["endings"][HOSTILE] = 1
        for condition in document["conditions"]:
            condition["endings"][HOSTILE] = 2
        document["trajectories"]["baseline"][HOSTILE] = [0.0, 1.0]

    rewrite(folder / "study.json", taint_study)
    rewrite(folder / "features/first/k3/features.json", taint_features)
    rewrite(folder / "experiments/first/k3/sweep.json", taint_sweep)
    rewrite(
        folder / "experiments/first/k3/nudge.json",
        lambda document: document.update(verdict=HOSTILE),
    )
    page = write_report(Study.open(folder, agent=agent())).path.read_text("utf-8")
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "{{ 7*7 }}" in visible(page)
    assert page.count("<script") == 1
    assert read(page).handlers == []


def test_a_nudge_that_holds_is_shown_with_its_fresh_seeds(copy: Study) -> None:
    trial = {
        "feature": 1,
        "address": "first/k3#1",
        "alpha": 1.0,
        "rank": 2,
        "difference": 12.34,
        "low": 4.5,
        "high": 20.1,
        "p": 0.0021,
        "p_corrected": 0.0042,
        "seeds": 200,
        "search_difference": 15.0,
        "random_as_good": 1,
        "random_directions": 39,
        "holds": True,
    }

    def find(document: dict) -> None:
        document |= {
            "found": True,
            "verdict": "A nudge holds: first/k3#1 α=+1.",
            "confirm_baseline": 100.0,
        }
        document |= {"trials": [trial], "confirmed": [trial]}

    rewrite(copy.directory / "experiments/first/k3/nudge.json", find)
    text = visible(write_report(copy).path.read_text("utf-8"))
    assert text.count("A nudge holds: first/k3#1 α=+1.") == 2
    assert "+12.3 [4.5, 20.1] 0.0021 0.0042 1 of 39 200 yes" in re.sub(r"\s+", " ", text)
    assert "No nudge holds" not in text


def test_thousands_of_features_do_not_all_get_a_card(copy: Study) -> None:
    def multiply(document: dict) -> None:
        first = document["features"][0]
        document["features"] += [
            first | {"index": index, "address": f"first/k3#{index}"} for index in range(3, 500)
        ]

    rewrite(copy.directory / "features/first/k3/features.json", multiply)
    page = write_report(copy).path.read_text("utf-8")
    assert "are left out of this report" in page
    assert page.count("<article") < 80


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0.0, "<0.0001"), (0.0312, "0.031"), (1.0, "1")]
)
def test_probability_never_says_zero(value: float | None, text: str) -> None:
    assert probability(value) == text


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield opened
        opened.close()


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 420)])
def test_page_opens_from_disk_without_a_request_or_an_error(
    browser, study: Study, scheme: str, width: int
) -> None:
    path = write_report(study).path
    shown = browser.new_page(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    )
    requests: list[str] = []
    problems: list[str] = []
    shown.on("request", lambda request: requests.append(request.url))
    shown.on("console", lambda message: problems.append(message.text))
    shown.on("pageerror", lambda error: problems.append(str(error)))
    shown.goto(path.as_uri())
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    use(shown)
    shown.close()
    assert requests == [path.as_uri()]
    assert problems == []


def use(shown) -> None:
    """Sorts a table, hovers and walks a chart, jumps to a feature and changes the theme."""
    table = "[...document.querySelectorAll('#causes table.sortable')].pop()"
    head = shown.locator("#causes table.sortable th", has_text="change").last
    head.locator("xpath=ancestor::details").evaluate("details => details.open = true")
    head.locator("button").click()
    column = f"{table}.querySelectorAll('tbody td:nth-child(4)')"
    texts = shown.evaluate(f"[...{column}].map(cell => cell.textContent)")
    values = [float(text.replace("−", "-")) for text in texts]
    assert values == sorted(values)
    assert head.get_attribute("aria-sort") == "ascending"
    chart = shown.locator("article svg.chart").first
    chart.focus()
    shown.keyboard.press("ArrowRight")
    assert shown.locator("#tip").inner_text()
    before = shown.evaluate("getComputedStyle(document.body).backgroundColor")
    shown.locator("#theme").click()
    assert shown.evaluate("getComputedStyle(document.body).backgroundColor") != before
    shown.keyboard.press("j")
    assert shown.evaluate("document.activeElement.className").startswith("card")


def test_is_number_knows_what_can_be_drawn() -> None:
    assert [is_number(value) for value in (1, 0.5, None, float("nan"), "1")] == [
        True,
        True,
        False,
        False,
        False,
    ]
