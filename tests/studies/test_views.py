"""Every view of a study: what the pages show is what the study holds."""

import json
from pathlib import Path

import numpy as np
import pytest

from policyscope.errors import InvalidInput, UnknownName
from policyscope.features import firings as module
from policyscope.features.describe import encode
from policyscope.features.firings import find, firings
from policyscope.studies.labels import GivenLabel, Labels, Outdated
from policyscope.studies.study import Study
from policyscope.studies.views import views as views_module
from policyscope.studies.views.features import at
from policyscope.studies.views.views import Blob, Views

LAYER = "layer2/k4"


@pytest.fixture
def opened(study: Path) -> Study:
    made = Study.open(study)
    made.features(LAYER)
    made.sweep(LAYER, features=[0, 1], alphas=(-1.0, 1.0), episodes=4, random_directions=3)
    made.score(LAYER, episodes=4)
    return made


@pytest.fixture
def views(opened: Study) -> Views:
    return Views(opened)


def test_every_view_is_json_and_says_what_the_study_says(views: Views, opened: Study) -> None:
    overview = views.get("overview")
    assert overview["environment"]["actions"]["names"] == ["left", "right"]
    assert overview["environment"]["actions"]["pad"] == [[0, 1], [2, 1]]
    (row,) = (one for one in overview["dictionaries"] if one["name"] == LAYER)
    score = opened.result("features", LAYER, "score.json")
    assert score is not None
    assert row["unexplained"] == pytest.approx(score["unexplained"])
    assert {one["path"] for one in overview["experiments"]} == {f"{LAYER}/sweep"}
    recorded = {s["address"] for m in overview["modules"] for s in m["sites"] if s["recorded"]}
    assert {"fc2:in", "fc3:in"} <= recorded
    paths = [
        "overview",
        f"dictionary/{LAYER}",
        f"features/{LAYER}",
        f"feature/{LAYER}/1",
        "episodes/main",
        "episode/main/0",
        "clip/main/0",
        f"experiment/{LAYER}/sweep",
        f"correlations/{LAYER}",
        f"scatter/{LAYER}/1/pole_angle",
    ]
    for path in paths:
        json.dumps(views.get(path), allow_nan=False)
    json.dumps(views.get("compare", {"dictionaries": f"{LAYER},{LAYER}"}), allow_nan=False)


def test_a_feature_page_shows_its_firings(views: Views, opened: Study) -> None:
    dictionary, recording = opened.dictionary(LAYER), opened.recording("main")
    fired = firings(recording, dictionary)
    codes = np.concatenate([encode(dictionary, x) for (x,) in recording.iterate("fc2:in")])
    alive = int((codes > 0).sum(0).argmax())
    sample, value = fired.of(alive)
    np.testing.assert_array_equal(sample, np.flatnonzero(codes[:, alive] > 0))
    np.testing.assert_allclose(value, codes[sample, alive], rtol=1e-6)
    page = views.get(f"feature/{LAYER}/{alive}")
    groups = {group["name"]: group for group in page["intervals"]}
    assert groups["max"]["moments"][0]["activation"] == pytest.approx(float(value.max()))
    for group in groups.values():
        for one in group["moments"]:
            kept = opened.moment(one["moment"])
            activation = kept["fc2:in"].numpy()[None]
            found = max(0.0, float(encode(dictionary, activation)[0, alive]))
            assert found == pytest.approx(one["activation"], abs=1e-4)
            assert one["metrics"]["pole_angle"] == pytest.approx(float(kept["pole_angle"]))
    episodes = [one["moment"].split("@")[0] for one in groups["max"]["moments"]]
    assert len(set(episodes)) == len(episodes)
    near = [one for one in page["neighbours"] if one["correlation"] is not None]
    for one in near:
        r = np.corrcoef(codes[:, alive], codes[:, one["index"]])[0, 1]
        assert one["correlation"] == pytest.approx(r, abs=1e-3)


def test_firings_are_kept_until_the_recording_or_the_dictionary_changes(opened: Study) -> None:
    dictionary, recording = opened.dictionary(LAYER), opened.recording("main")
    firings(recording, dictionary)
    path = recording.directory / "derived" / LAYER / "firings.safetensors"
    before = path.stat().st_mtime_ns
    firings(recording, dictionary)
    assert path.stat().st_mtime_ns == before
    with np.errstate(all="ignore"):
        dictionary.encoder[0].bias.data += 1.0
    firings(recording, dictionary)
    assert path.stat().st_mtime_ns != before


def test_an_episode_has_its_lanes_and_the_features_asked_for(views: Views, opened: Study) -> None:
    page = views.get("episode/main/2", {"features": f"{LAYER}#1"})
    past = opened.recording("main").episode(2)
    assert page["lanes"]["action"] == past["action"].tolist()
    assert page["lanes"]["return so far"][-1] == page["return"]
    codes = encode(opened.dictionary(LAYER), past["fc2:in"])[:, 1]
    np.testing.assert_allclose(page["features"][f"{LAYER}#1"], codes, rtol=1e-3, atol=1e-4)
    for event in page["events"]:
        assert all(0 <= a <= b < page["length"] for a, b in event["steps"])
    window = views.get("window/main/2", {"dictionary": LAYER, "from": "0", "to": "4"})
    best = window["features"][0]
    every = encode(opened.dictionary(LAYER), past["fc2:in"])[:, best["index"]]
    assert best["inside"] == pytest.approx(float(every[:5].mean()), rel=1e-4)
    with pytest.raises(InvalidInput, match="not a part"):
        views.get("window/main/2", {"dictionary": LAYER, "from": "0"})


def test_what_is_not_there_is_named_and_nothing_outside_is_reached(views: Views) -> None:
    for path in ("nothing", "feature/layer2/k4/999", "features/layer9", "episodes/other"):
        with pytest.raises(UnknownName):
            views.get(path)
    for path in ("sheet/main/../../study.json", "experiment/../../study", "episodes/../main"):
        with pytest.raises(UnknownName):
            views.get(path)
    assert not isinstance(views.get("overview"), Blob)


def test_labels_are_a_history_to_which_two_may_add(opened: Study) -> None:
    one, other = Labels(opened.directory), Labels(opened.directory)
    one.add(GivenLabel(LAYER, 1, "leaning right", "guess", author="a"), revision=0)
    with pytest.raises(Outdated, match="1 labels before yours"):
        other.add(GivenLabel(LAYER, 1, "falling", "tested", author="b"), revision=0)
    for labels in (one, other):
        assert [label.text for label in labels.of(LAYER, 1)] == ["leaning right", "falling"]
        assert labels.of(LAYER, 2) == []
    with (opened.directory / "labels.jsonl").open("a") as file:
        file.write('{"broken": \nnot json\n{"dictionary": "x"}\n')
    assert len(Labels(opened.directory).of(LAYER, 1)) == 2
    assert Views(opened).get(f"feature/{LAYER}/1")["label"] == "falling"
    for text, status in (("", "guess"), ("x" * 300, "guess"), ("a", "certain")):
        with pytest.raises(InvalidInput):
            GivenLabel(LAYER, 1, text, status)


def test_firings_found_in_pieces_are_the_same(
    opened: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    dictionary, recording = opened.dictionary(LAYER), opened.recording("main")
    whole = find(recording, dictionary)
    monkeypatch.setattr(module, "ENCODED", 37 * len(dictionary))
    monkeypatch.setattr(module, "TOGETHER", 3)
    pieces = find(recording, dictionary)
    for name, part in vars(whole).items():
        np.testing.assert_allclose(getattr(pieces, name), part, rtol=1e-5, atol=1e-6, err_msg=name)


def test_too_many_firings_are_those_of_some_whole_episodes(
    opened: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    dictionary, recording = opened.dictionary(LAYER), opened.recording("main")
    whole = find(recording, dictionary)
    monkeypatch.setattr(module, "ENCODED", 100 * len(dictionary))
    monkeypatch.setattr(module, "MOST", len(whole.sample) // 2)
    some = find(recording, dictionary)
    assert 0 < len(some.sample) <= module.MOST
    episode = np.asarray(recording.read("episode"))
    kept = np.unique(episode[some.sample])
    assert 0 < len(kept) < len(np.unique(episode))
    assert some.samples == int(np.isin(episode, kept).sum())
    for feature in range(len(dictionary)):
        sample, value = whole.of(feature)
        inside = np.isin(episode[sample], kept)
        np.testing.assert_array_equal(some.of(feature)[0], sample[inside])
        np.testing.assert_allclose(some.of(feature)[1], value[inside], rtol=1e-5)


def test_firings_that_cannot_be_written_are_found_all_the_same(
    opened: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    dictionary, recording = opened.dictionary(LAYER), opened.recording("main")
    known = firings(recording, dictionary).sample.copy()  # not mapped: the file is broken now
    (recording.directory / "derived" / LAYER / "firings.safetensors").write_bytes(b"broken")

    def fail(*arguments: object) -> None:
        raise OSError("There is no room.")

    monkeypatch.setattr(module, "write_arrays", fail)
    np.testing.assert_array_equal(firings(recording, dictionary).sample, known)


def test_columns_are_read_at_samples_in_any_order(opened: Study) -> None:
    recording = opened.recording("main")
    draw = np.random.default_rng(0).integers(recording.steps, size=50)
    for column in ("episode", "pole_angle", "fc2:in"):
        np.testing.assert_array_equal(at(recording, column, draw), recording.read(column)[draw])
    assert len(at(recording, "fc2:in", draw[:0])) == 0


def test_what_is_kept_in_memory_has_an_end(
    views: Views, opened: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (opened.directory / f"{name}.json" for name in ("first", "second"))
    for path in (first, second):
        path.write_text('{"x": 1}')
    read: list[Path] = []

    def note(path: Path) -> Path:
        read.append(path)
        return path

    for path in (first, first, second, first):
        assert views.kept(path, note) == path
    assert read == [first, second]
    monkeypatch.setattr(views_module, "MOST_KEPT", 10)
    for path in (second, first, first):
        views.kept(path, note)
    assert read == [first, second, first]
    first.write_text('{"x": 22}')
    views.kept(first, note)
    assert read[3:] == [first]
