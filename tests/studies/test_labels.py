"""The history of labels: nothing is lost, and it is clear which label counts."""

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from policyscope.errors import DiskFull, InvalidInput
from policyscope.features.detection import BY_CHANCE
from policyscope.features.label import UNCLEAR, Label
from policyscope.studies.labels import GivenLabel, Labels, Outdated, parse

NAME = "layer2/k4"
RULE = {"text": "pole right", "precision": 0.8, "recall": 0.8, "auroc": 0.9, "status": "guess"}


def by_model(text: str, score: float | None, author: str = "m", **more: Any) -> GivenLabel:
    """Its precision and recall are `score`; its AUROC says nothing of where its bounds lie."""
    scores = {"precision": score, "recall": score, "auroc": score and 1.0}
    return GivenLabel(NAME, 1, text, "guess", author=author, source="llm", **scores, **more)


def by_person(text: str, status: str = "guess") -> GivenLabel:
    return GivenLabel(NAME, 1, text, status, author="ada")


@pytest.fixture
def labels(study: Path) -> Labels:
    return Labels(study)


def called(labels: Labels, rule: dict[str, Any] | None = RULE) -> str:
    return labels.called(NAME, 1, rule).get("text", "")


def test_without_any_the_rule_counts(labels: Labels) -> None:
    assert called(labels) == "pole right"
    assert called(labels, None) == ""


def test_the_label_that_tells_best_counts(labels: Labels) -> None:
    labels.add(by_model("worse", 0.7))
    assert called(labels) == "pole right"
    labels.add(by_model("better", 0.9))
    assert called(labels) == "better"
    labels.add(by_model("another model's", 0.95, author="n"))
    assert called(labels) == "another model's"
    # What a model has said since is what it says.
    labels.add(by_model("worse again", 0.6, author="n"))
    assert called(labels) == "better"


def test_a_guess_without_a_score_counts_where_no_rule_is_clear(labels: Labels) -> None:
    labels.add(by_model("something", None))
    assert called(labels) == "pole right"
    unclear = {**RULE, "text": f"{UNCLEAR}; the best is x"}
    assert called(labels, unclear) == "something"
    labels.add(by_model("a wild guess", 0.2, note=BY_CHANCE))
    assert called(labels, unclear) == unclear["text"]
    assert called(labels, None) == "a wild guess"


def test_of_precision_and_recall_both_count(labels: Labels) -> None:
    always = GivenLabel(NAME, 1, "always", "guess", source="llm", precision=0.1, recall=1.0)
    labels.add(always)
    assert called(labels) == "pole right"


def test_what_a_person_said_last_counts_whatever_a_model_says(labels: Labels) -> None:
    labels.add(by_person("mine"))
    labels.add(by_model("better", 1.0))
    assert called(labels) == "mine"
    labels.add(by_person("no longer so", "refuted"))
    assert called(labels) == "no longer so"
    assert [one.text for one in labels.of(NAME, 1)] == ["mine", "better", "no longer so"]


def test_labels_of_another_fit_do_not_count(labels: Labels, study: Path) -> None:
    header = json.loads((study / "dictionaries" / NAME / "dictionary.json").read_text())
    here = header["weights_crc32"]
    assert labels.weights(NAME) == here
    labels.add(by_model("of another fit", 1.0, weights=here + 1))
    assert called(labels) == "pole right"
    assert labels.by(NAME, 1, "llm", "m") is None
    labels.add(by_model("of this one", 0.9, weights=here))
    assert called(labels) == "of this one"
    assert len(labels.of(NAME, 1)) == 2


def test_a_label_with_its_scores_comes_back_as_it_was(labels: Labels) -> None:
    found = Label("far right", "x > 2", 0.5, 1.0, 0.75, "activation > 0", 9, 3, 0.1, source="llm")
    about = {"author": "m", "recording": "main", "weights": labels.weights(NAME)}
    labels.add(GivenLabel.found(found, NAME, 1, **about))
    (kept,) = labels.of(NAME, 1)
    again = kept.as_label()
    assert (again.text, again.rule, again.auroc, again.base_rate) == (
        "far right",
        "x > 2",
        0.75,
        0.1,
    )
    assert (kept.author, kept.recording) == ("m", "main")
    assert kept.when.startswith("20")
    unknown = GivenLabel.found(
        Label("a", "", *[math.nan] * 3, "", 0, 0, math.nan), NAME, 1, **about
    )
    labels.add(unknown)
    assert labels.of(NAME, 1)[-1].auroc is None
    assert math.isnan(labels.of(NAME, 1)[-1].as_label().auroc)


def test_a_long_label_is_cut_to_what_a_line_holds(labels: Labels) -> None:
    found = Label("x" * 500, "", *[math.nan] * 3, "", 0, 0, math.nan)
    labels.add(GivenLabel.found(found, NAME, 1, author="", recording="main", weights=None))
    assert len(labels.of(NAME, 1)[0].text) == 200


def test_who_has_not_seen_the_newest_hears_of_it_and_both_are_kept(labels: Labels) -> None:
    labels.add(by_person("one"), revision=0)
    with pytest.raises(Outdated, match="had 1 labels before yours, and you had seen 0"):
        labels.add(by_person("two"), revision=0)
    assert [one.text for one in labels.of(NAME, 1)] == ["one", "two"]


def test_a_line_that_is_none_harms_no_other(labels: Labels, study: Path) -> None:
    labels.add(by_person("one"))
    with (study / "labels.jsonl").open("ab") as file:
        file.write(b'nonsense\n{"text": 1}\n\xff\xfe\n[]\n{"dictionary": "cut sho')
    assert [one.text for one in Labels(study).of(NAME, 1)] == ["one"]
    assert parse(b"[]\n") is None


def test_a_line_that_was_cut_short_takes_no_other_with_it(labels: Labels, study: Path) -> None:
    labels.add(by_person("one"))
    with (study / "labels.jsonl").open("ab") as file:
        file.write(b'{"dictionary": "cut sho')
    labels.add(by_person("two"))
    assert [one.text for one in labels.of(NAME, 1)] == ["one", "two"]
    assert [one.text for one in Labels(study).of(NAME, 1)] == ["one", "two"]


def test_a_full_disk_is_said(labels: Labels, monkeypatch: pytest.MonkeyPatch) -> None:
    labels.add(by_person("one"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda end, line: 5)
        with pytest.raises(DiskFull, match="Those before stay"):
            labels.add(by_person("two"))
    labels.add(by_person("three"))
    assert [one.text for one in labels.of(NAME, 1)] == ["one", "three"]


@pytest.mark.parametrize("text", ["", " ", "x" * 201, "two\nlines"])
def test_a_label_is_one_line(text: str) -> None:
    with pytest.raises(InvalidInput, match="one line"):
        GivenLabel(NAME, 0, text, "guess")


def test_two_who_write_at_once_lose_nothing(study: Path) -> None:
    one, two = Labels(study), Labels(study)
    for number in range(20):
        (one if number % 2 else two).add(by_person(str(number)))
    assert [label.text for label in one.of(NAME, 1)] == [str(number) for number in range(20)]
    assert len((study / "labels.jsonl").read_bytes().split(os.linesep.encode())) == 21
