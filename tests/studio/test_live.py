"""Live play over a real socket: what is asked for happens, and whatever is sent is answered."""

import gc
import io
import json
import queue
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import PIL.Image
import pytest

from policyscope.dictionaries.topk import TopK
from policyscope.errors import EnvironmentFailed, InvalidInput
from policyscope.studies.study import Study
from policyscope.studio.known import Knowledge
from policyscope.studio.live import Session, next_due
from policyscope.studio.play import Change, Play, Start
from policyscope.studio.wire import decode
from policyscope.studio.words import Firing, explain, keys_of

NAME = "layer2/k4"


@pytest.fixture
def player(client) -> Iterator[Any]:
    pytest.importorskip("pygame", reason="needs the extra [frames]")
    made = client.play()
    yield made
    made.socket.close()


@pytest.fixture
def play(own_study: Study) -> Iterator[Play]:
    made = Play(own_study, Start(NAME, seed=3))
    yield made
    made.close()


# --- over the socket -----------------------------------------------------------------------------


def test_an_episode_from_beginning_to_end(player) -> None:
    player.send("start", dictionary=NAME, seed=3, fps=240)
    hello = player.next()
    assert hello["type"] == "hello"
    assert hello["actions"]["names"] == ["left", "right"]
    assert hello["keys"]["ArrowLeft"] == 0
    assert (hello["width"], len(hello["max"]), hello["max_from"]) == (4, 4, "features")
    first = player.next()
    assert (first["n"], first["step"], first["total"]["agent"]) == (1, 0, 0)
    picture, twin = first["pictures"]
    assert PIL.Image.open(io.BytesIO(picture), formats=("PNG",)).size[0] > 100
    assert twin == b""  # it looks the same
    last = first
    while last["ended"] is None:
        last = player.next()
    assert last["total"]["agent"] == last["step"]
    assert last["diverged"] is None
    assert not last["playing"]


def test_an_edit_shows_while_the_world_stands_still(player) -> None:
    player.send("start", dictionary=NAME, seed=3, fps=0.001)
    before = player.until("step", step=0)
    player.send("edit", edits=[{"feature": 2, "kind": "steer", "value": 3.0}])
    after = player.next()
    assert (after["step"], after["edited_at"]) == (0, 0)
    assert after["edits"] == [{"feature": 2, "kind": "steer", "value": 3.0}]
    assert after["probabilities"] != before["probabilities"]


def test_pause_step_rewind_branch_and_hands_on(player) -> None:
    player.send("start", dictionary=NAME, seed=3, fps=0.001)
    player.send("pause")
    player.send("step", count=5)
    five = player.until("step", step=5)
    assert not five["playing"]
    player.send("rewind", step=2)
    player.until("step", step=2)
    player.send("step", count=3)
    again = player.until("step", step=5)
    assert again["metrics"] == five["metrics"]
    other = 1 - again["action"]["twin"]
    player.send("act", action=other)
    held = player.until("step", held=True)
    assert held["action"]["agent"] == other
    assert held["diverged"] == 5
    assert held["words"].startswith("you → pushing ")
    player.send("step", count=1)
    assert all(map(len, player.until("step", step=6)["pictures"]))
    player.send("rewind", step=5)
    player.until("step", step=5)
    player.send("act", action=None)
    assert player.until("step", held=False)["action"]["agent"] == again["action"]["agent"]
    player.send("branch")
    assert player.next()["diverged"] is None


def test_pinned_features_are_always_shown(player) -> None:
    player.send("start", dictionary=NAME, fps=0.001)
    player.until("step", step=0)
    player.send("edit", edits=[{"feature": 0, "kind": "ablate"}])
    player.send("pin", features=[0, 3])
    shown = player.next()
    while not {0, 3} <= {feature for feature, *_ in shown["features"]}:
        shown = player.next()
    assert shown["step"] == 0


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("no json", "not JSON"),
        ("[]", "JSON object"),
        ('{"type": "strat"}', "Did you mean 'start'?"),
        ('{"type": 3}', "No message"),
        ('{"type": "start"}', "start needs dictionary"),
        ('{"type": "start", "dictionary": "layer2/k5"}', "Did you mean"),
        ('{"type": "start", "dictionary": "layer2/k4", "fps": 0}', "fps is 0"),
        ('{"type": "start", "dictionary": "layer2/k4", "seed": -1}', "seed is -1"),
        ('{"type": "start", "dictionary": "layer2/k4", "rate": 1}', "No argument"),
        ('{"type": "step", "count": 0}', "count is 0"),
        ('{"type": "rewind", "step": 10000}', "not between"),
        ('{"type": "act", "action": 7}', "expected 0 to 1"),
        ('{"type": "act", "action": 0.5}', "expected 0 to 1"),
        ('{"type": "rate", "fps": 1e9}', "fps is"),
        ('{"type": "pin", "features": [4]}', "not one of the 4"),
        ('{"type": "edit", "edits": [{"feature": 9, "kind": "clamp"}]}', "not one of the 4"),
        ('{"type": "edit", "edits": [{"feature": 1, "kind": "melt"}]}', "expected 'steer'"),
        ('{"type": "edit", "edits": [{"feature": 1, "kind": "clamp", "value": NaN}]}', "NaN"),
        ('{"type": "edit", "edits": [1]}', "list of an object"),
        ('{"type": "save", "name": "../../study"}', "cannot name"),
        ('{"type": "save", "name": "a/b"}', "leave out '/'"),
    ],
)
def test_whatever_is_malformed_is_answered_and_play_goes_on(
    session: tuple[Session, Callable[[], dict[str, Any]]], message: str, said: str
) -> None:
    made, heard = session
    made.take(json.dumps({"type": "start", "dictionary": NAME, "fps": 0.001}))
    assert heard()["type"] == "hello"
    made.take(message)
    while (answer := heard())["type"] != "error":
        pass
    assert said in answer["error"]
    made.take(json.dumps({"type": "ack", "n": 99}))
    made.take(json.dumps({"type": "start", "dictionary": NAME, "fps": 0.001}))
    while heard()["type"] != "hello":
        pass


# --- the session ---------------------------------------------------------------------------------


@pytest.fixture
def session(own_study: Study) -> Iterator[tuple[Session, Callable[[], dict[str, Any]]]]:
    """A session, and what gives the next thing that it says."""
    sent: queue.Queue[bytes | str] = queue.Queue()

    def heard() -> dict[str, Any]:
        message = sent.get(timeout=60)
        if isinstance(message, str):
            return json.loads(message)
        return {**decode(message)[0], "type": "step"}

    made = Session(own_study, sent.put, str.upper)
    yield made, heard
    made.close()


def test_at_most_three_messages_wait_and_then_the_newest_comes(session) -> None:
    made, heard = session
    made.take(json.dumps({"type": "start", "dictionary": NAME, "fps": 0.001}))
    assert heard()["type"] == "hello"
    assert heard()["n"] == 1
    for _ in range(6):
        made.take(json.dumps({"type": "step", "count": 1}))
    made.take(json.dumps({"type": "rewind", "step": 99}))
    pictures = 1
    while heard()["type"] != "error":
        pictures += 1
    assert pictures <= 3
    made.take(json.dumps({"type": "ack", "n": 99}))
    made.take(json.dumps({"type": "pause"}))
    newest = heard()
    while newest["step"] < 6:
        newest = heard()
    assert newest["n"] <= pictures + 1


def test_a_hiccup_is_caught_up_with_and_a_standstill_is_not() -> None:
    assert next_due(1.0, 0.03, 1.0) == pytest.approx(1.03)
    assert next_due(1.0, 0.03, 1.06) == pytest.approx(1.03)  # the next two are due at once
    assert next_due(1.0, 0.03, 9.0) == pytest.approx(8.9)


def test_what_a_link_steers_is_steered_from_the_first_step_on(session) -> None:
    made, heard = session
    edits = [{"feature": 2, "kind": "steer", "value": 3.0}]
    start = {"type": "start", "dictionary": NAME, "seed": 3, "fps": 240}
    made.take(json.dumps({**start, "edits": edits, "pins": [0]}))
    assert heard()["type"] == "hello"
    first = heard()
    assert (first["step"], first["edited_at"], first["edits"]) == (0, 0, edits)
    assert 0 in [feature for feature, *_ in first["features"]]


def test_a_link_that_steers_what_is_not_there_plays_unsteered_and_says_so(session) -> None:
    made, heard = session
    edits = [{"feature": 9, "kind": "steer", "value": 3.0}]
    start = {"type": "start", "dictionary": NAME, "seed": 3, "fps": 240}
    made.take(json.dumps({**start, "edits": edits, "pins": [7]}))
    assert heard()["type"] == "hello"
    assert "Feature 7" in heard()["error"]
    assert "Feature 9" in heard()["error"]
    first = heard()
    assert (first["step"], first["edits"], first["playing"]) == (0, [], True)


def test_an_environment_that_fails_ends_the_play_alone(session, monkeypatch) -> None:
    made, heard = session

    def fail(self: Play) -> None:
        raise EnvironmentFailed("It fell over.")

    with monkeypatch.context() as patch:
        patch.setattr(Play, "advance", fail)
        made.take(json.dumps({"type": "start", "dictionary": NAME, "fps": 240}))
        while (said := heard())["type"] != "error":
            pass
    assert said["is_over"]
    assert "fell over" in said["error"]
    made.take(json.dumps({"type": "pause"}))
    made.take(json.dumps({"type": "start", "dictionary": NAME, "fps": 0.001}))
    assert heard()["type"] == "hello"


def test_a_language_model_says_it_in_its_own_words(session) -> None:
    made, heard = session
    made.take(json.dumps({"type": "start", "dictionary": NAME, "fps": 0.001}))
    made.rephrase = None
    made.take(json.dumps({"type": "explain", "llm": True}))
    while (said := heard())["type"] != "error":
        pass
    assert "No language model" in said["error"]
    made.rephrase = str.upper
    made.take(json.dumps({"type": "explain", "llm": True}))
    made.take(json.dumps({"type": "step", "count": 2}))
    while (said := heard())["type"] != "caption":
        pass
    assert said["text"].isupper()


def test_what_was_played_is_kept_and_can_be_played_again(session, own_study: Study) -> None:
    made, heard = session
    edits = [{"feature": 1, "kind": "clamp", "value": 2.0}]
    for message in (
        {"type": "start", "dictionary": NAME, "seed": 5, "fps": 0.001},
        {"type": "step", "count": 3},
        {"type": "edit", "edits": edits},
        {"type": "step", "count": 2},
        {"type": "save", "name": "mine"},
    ):
        made.take(json.dumps(message))
    while (said := heard())["type"] != "saved":
        pass
    assert said["path"] == "live/mine"
    kept = own_study.result("experiments", "live", "mine.json")
    assert kept is not None
    assert (kept["seed"], kept["steps"], kept["dictionary"]) == (5, 5, NAME)
    assert [(one["step"], len(one["edits"])) for one in kept["edits"]] == [(3, 1)]
    again = Play(own_study, Start(NAME, seed=5))
    for step in range(5):
        if step == 3:
            again.edit([Change(**one) for one in edits])
        assert again.sight.action[0] == kept["actions"]["agent"][step]
        again.advance()
    assert again.sight.total[0] == kept["return"]["agent"]
    again.close()
    made.take(json.dumps({"type": "save", "name": "mine"}))
    while (said := heard())["type"] != "error":
        pass
    assert "already" in said["error"]


# --- play and words ------------------------------------------------------------------------------


def test_values_count_in_maxima_of_the_feature(play: Play) -> None:
    for _ in range(3):
        play.advance()
    play.edit([Change(1, "steer", 2.0)])
    wanted = play.dictionary[1].direction * 2.0 * play.maxima.unit(1)
    (edit,) = play.live.intervention.edits
    np.testing.assert_allclose((edit.alpha * edit.direction).detach(), wanted.detach())  # type: ignore[attr-defined]
    play.edit([])
    assert not play.live.intervention


def test_going_back_forgets_what_was_done_after(play: Play) -> None:
    for at in range(4):
        play.edit([Change(1, "steer", float(at))])
        play.advance()
    play.rewind(2)
    # What holds now holds from here.
    assert [(step, changes[0].value) for step, changes in play.log] == [(0, 0), (1, 1), (2, 3)]
    assert play.document()["steps"] == 2


def test_two_sessions_do_not_edit_each_other(play: Play, own_study: Study) -> None:
    other = Play(own_study, Start(NAME, seed=3))
    before = other.sight.outputs["logits"].copy()
    play.edit([Change(0, "steer", 50.0)])
    other.look()
    np.testing.assert_array_equal(other.sight.outputs["logits"], before)
    other.close()


def test_thousands_of_features_play_like_a_few(own_study: Study) -> None:
    own_study.fit(TopK(2048, k=8), reads="fc3:in", writes="fc3:in", name="wide", seeds=1, epochs=1)
    play = Play(own_study, Start("wide", seed=3))
    past = []
    for _ in range(6):
        past.append((play.sight.codes.copy(), dict(play.sight.metrics)))
        play.advance()
    assert past[0][0].shape == (2, 2048)
    strongest = int(play.sight.codes[0].argmax())
    before = play.sight.codes.copy()
    play.edit([Change(strongest, "steer", 20.0)])
    play.pin([2047])
    np.testing.assert_allclose(play.sight.codes[1], before[1], atol=1e-6)
    assert play.sight.codes[0, strongest] > before[0, strongest]
    shown = [feature for feature, *_ in play.header()["features"]]
    assert strongest in shown
    assert 2047 in shown
    play.act(1 - int(play.sight.action[1]))
    assert play.sight.diverged == 6
    play.advance()
    play.act(None)
    play.branch()
    assert play.sight.diverged in (None, 7)  # the edit holds, and may act otherwise at once
    play.rewind(4)
    np.testing.assert_allclose(play.sight.codes[1], past[4][0][1], atol=1e-5)
    assert {name: values.tolist() for name, values in play.sight.metrics.items()} == {
        name: values.tolist() for name, values in past[4][1].items()
    }
    play.close()


def test_without_a_twin_there_is_one_of_each(own_study: Study) -> None:
    alone = Play(own_study, Start(NAME, twin=False))
    header = alone.header()
    assert header["action"]["twin"] is None
    assert header["total"]["twin"] is None
    assert alone.document()["actions"]["twin"] is None
    with pytest.raises(InvalidInput, match="no twin"):
        alone.branch()
    alone.close()


def test_maxima_come_from_the_recording_where_nobody_looked_at_features(own_study: Study) -> None:
    found = own_study.result("features", NAME, "features.json")
    assert found is not None
    (own_study.directory / "features" / NAME / "features.json").unlink()
    play = Play(own_study, Start(NAME))
    assert play.hello()["max_from"] == "recording"
    expected = [card["max"] for card in found["features"]]
    np.testing.assert_allclose(play.maxima.values, expected, rtol=1e-4)
    play.close()


def test_sessions_share_what_is_known_until_the_files_change(
    own_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    knowledge = Knowledge(own_study)
    dictionary = own_study.dictionary(NAME)
    first = knowledge.of(dictionary)
    monkeypatch.setattr("policyscope.studio.known.find", None)  # it is asked nothing more
    second = knowledge.of(dictionary)
    np.testing.assert_array_equal(second.maxima.values, first.maxima.values)
    second.maxima.values[:] = -1  # one's own
    assert (knowledge.of(dictionary).maxima.values >= 0).all()
    monkeypatch.undo()
    (own_study.directory / "features" / NAME / "features.json").unlink()
    assert knowledge.of(dictionary).maxima.source == "recording"
    assert not knowledge.of(dictionary).rules


def test_a_play_that_is_over_leaves_nothing_behind(own_study: Study) -> None:
    """Not even until cycles are looked for: its tensors are few objects and much memory."""
    gc.disable()
    try:
        play = Play(own_study, Start(NAME))
        play.edit([Change(1, "steer", 2.0)])
        play.advance()
        left = [weakref.ref(one) for one in (play.dictionary, play.live, play.live.agent)]
        play.close()
        del play
        assert [one() for one in left] == [None] * 3
    finally:
        gc.enable()


def test_words_say_causes_and_deeds() -> None:
    labels = {3: "pole tilting right", 5: "cart left"}
    firings = [Firing(9, 1.0, 0.9), Firing(3, 2.0, 0.83), Firing(5, 0.1, 0.01)]
    said = explain("CartPole-v1", ("left", "right"), labels, firings, 1, 1)
    assert said == "pole tilting right (0.83) → pushing right"
    said = explain("CartPole-v1", ("left", "right"), labels, firings, 1, 0)
    assert said.endswith("→ pushing right (its twin: pushing left)")
    assert explain("Pendulum-v1", ("action[0]",), {}, firings, None, None) == (
        "nothing with a label fires"
    )
    assert explain("ALE/Pong-v5", ("noop",), labels, firings, 0, 0, is_held=True) == (
        "you → doing nothing"
    )


def test_keys_are_arrows_for_directions_and_digits_for_all() -> None:
    keys = keys_of(("noop", "fire", "right", "left"))
    assert keys == {"0": 0, "1": 1, "2": 2, "3": 3, " ": 1, "ArrowRight": 2, "ArrowLeft": 3}
