"""Labels by a language model: what it is shown, what becomes of its answer, how it is scored."""

import json
from collections.abc import Iterator

import numpy as np
import pytest

from policyscope.chat import LanguageModel
from policyscope.envs.metric import Words
from policyscope.errors import NoAnswer
from policyscope.features.label import Evidence
from policyscope.features.labellers.llm import LanguageLabeller, read
from policyscope.testing.chat_server import ChatServer, reply, status

STEPS, EPISODES = 4000, 40
NAMES = ("x", "v")
RIGHT = {"label": "cart far right", "condition": [{"metric": "x", "above": 2.0, "at_most": None}]}
ABOVE_1 = {"metric": "v", "above": 1}


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer([reply(RIGHT)]) as made:
        yield made


@pytest.fixture
def seen() -> Evidence:
    metrics = np.random.default_rng(0).normal(0, 1.5, size=(STEPS, 2))
    words = {"x": Words("cart {not} {far} left", "cart {not} {far} right")}
    episode = np.arange(STEPS) * EPISODES // STEPS
    return Evidence(NAMES, metrics, episode, words, units={"x": "m"})


@pytest.fixture
def codes(seen: Evidence) -> np.ndarray:
    x = seen.metrics[:, 0]
    return np.where(x > 2.0, x, 0.0)


@pytest.fixture
def labeller(seen: Evidence, server: ChatServer) -> LanguageLabeller:
    model = LanguageModel(server.url, "planted", seconds=20.0, waits=())
    return LanguageLabeller(seen, model, "An agent pushes a cart.")


def shown(server: ChatServer, request: int = 0) -> str:
    return server.requests[request]["messages"][1]["content"]


def rows_of(prompt: str) -> list[list[float]]:
    """The moments in a prompt, as numbers."""
    parts = [line.split(", ") for line in prompt.splitlines()]
    return [[float(one) for one in part] for part in parts if len(part) == 3 and is_row(part)]


def is_row(part: list[str]) -> bool:
    return all(one.replace(".", "").replace("-", "").replace("e", "").isdigit() for one in part)


def test_a_condition_that_is_right_is_scored_as_a_rule_is(labeller, codes) -> None:
    label = labeller.label(codes)
    assert (label.text, label.rule, label.source) == ("cart far right", "x > 2", "llm")
    assert (label.precision, label.recall) == (1.0, 1.0)
    assert label.auroc > 0.9999  # ties of quantiles at the bound
    assert label.status == "guess"
    assert 0 < label.base_rate < 0.2
    assert label.support > 50


def test_a_condition_that_is_wrong_scores_badly_and_says_so(labeller, codes, server) -> None:
    server.answers = [
        reply({"label": "cart left", "condition": [{"metric": "x", "above": None, "at_most": 0}]})
    ]
    label = labeller.label(codes)
    assert (label.precision, label.recall) == (0.0, 0.0)
    assert label.auroc < 0.1
    assert label.note == "no better than chance on held-out episodes"


def test_it_is_scored_on_episodes_that_it_was_not_shown(labeller, seen, codes, server) -> None:
    # On the held-out episodes the feature does the opposite of what the model can see.
    flipped = np.where(seen.held_out, np.maximum(-2.0 - seen.metrics[:, 0], 0), codes)
    label = labeller.label(flipped)
    assert (label.precision, label.recall) == (0.0, 0.0)
    prompt = shown(server)
    shown_x = {row[1] for row in rows_of(prompt)}
    held_out_x = {float(f"{x:.4g}") for x in seen.metrics[seen.held_out, 0]}
    train_x = {float(f"{x:.4g}") for x in seen.metrics[~seen.held_out, 0]}
    assert len(shown_x) == 16
    assert shown_x <= train_x
    assert not shown_x & (held_out_x - train_x)


def test_what_it_is_shown(labeller, codes, server) -> None:
    labeller.label(codes, "left -0.3 [-0.4, -0.2] (change of the logits by it).")
    system, user = server.requests[0]["messages"]
    assert system["role"] == "system"
    assert '"at_most"' in system["content"]
    prompt = user["content"]
    assert prompt.startswith("An agent pushes a cart.\nTo fire means: activation > 0. It fires at ")
    assert "- x (m): all " in prompt
    assert 'below 0 "cart left", above "cart right"' in prompt
    assert "What its firing does to the actions: left -0.3" in prompt
    rows = rows_of(prompt)
    assert all(row[0] > 2 for row in rows[:8])
    assert all(row[0] == 0 for row in rows[8:])
    schema = server.requests[0]["response_format"]["json_schema"]["schema"]
    entry = schema["properties"]["condition"]["items"]["properties"]
    assert entry["metric"]["enum"] == list(NAMES)


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        (f"```json\n{json.dumps(RIGHT)}\n```", "x > 2"),
        (f"<think>x? {{maybe}} v</think>Here it is: {json.dumps(RIGHT)} I hope so.", "x > 2"),
        ({"label": "a", "condition": "x > 2 and -1 < v <= 1"}, "x > 2 and -1 < v <= 1"),
        ({"label": "a", "rule": "x >= 1 && v < 3"}, "x > 0.99999 and v <= 2.99997"),
        ({"label": "a", "condition": {"metric": "v", "above": "1.5"}}, "v > 1.5"),
        ({"label": "a", "condition": [ABOVE_1, {"metric": "v", "at_most": 2}]}, "1 < v <= 2"),
    ],
)  # fmt: skip
def test_answers_as_models_write_them(answer: str | dict, rule: str) -> None:
    found = read(answer if isinstance(answer, str) else json.dumps(answer), NAMES)
    assert (str(found.rule), found.complaint) == (rule, "")


@pytest.mark.parametrize(
    ("condition", "complaint"),
    [
        ([{"metric": "y", "above": 1}], "No metric called 'y'. Known: x, v."),
        ([{"metric": "x"}], "The condition on x has no bound."),
        ([{"metric": "x", "above": 2, "at_most": 1}], "No x is above 2 and at most 1."),
        ([{"metric": "x", "above": "far"}], "'far' is no bound"),
        ([{"metric": "x", "above": True}], "'True' is no bound"),
        ([{"metric": "x", "above": float("nan")}], "'nan' is no bound"),
        ([], "no condition that can be tested"),
        (None, "no condition that can be tested"),
        (7, "no condition that can be tested"),
        ([["x", 1]], "no condition that can be tested"),
        ("x is large", "'x is large' is no condition"),
    ],
)
def test_a_condition_that_cannot_be_tested_is_complained_about(condition, complaint: str) -> None:
    found = read(json.dumps({"label": "a", "condition": condition}), NAMES)
    assert found.rule is None
    assert complaint in found.complaint
    assert found.text == "a"


def test_what_cannot_be_used_is_returned_to_it_once(labeller, codes, server) -> None:
    wrong = {"label": "right", "condition": [{"metric": "cart_x", "above": 2}]}
    server.answers = [reply(wrong), reply(RIGHT)]
    assert labeller.label(codes).rule == "x > 2"
    *_, answer, complaint = server.requests[1]["messages"]
    assert json.loads(answer["content"]) == wrong
    assert complaint["content"].startswith("No metric called 'cart_x'.")


def test_words_alone_are_a_guess_without_a_score(labeller, codes, server) -> None:
    for planted in (reply("the cart is far right"), reply({"label": "the cart is far right"})):
        server.answers = [planted]
        label = labeller.label(codes)
        assert (label.text, label.rule) == ("the cart is far right", "")
        assert label.note.startswith("words alone, not scored: ")
        assert np.isnan([label.precision, label.recall, label.auroc]).all()
        assert label.source == "llm"


def test_words_are_kept_where_the_second_answer_fails(labeller, codes, server) -> None:
    server.answers = [reply({"label": "far right", "condition": []}), status(500)]
    assert labeller.label(codes).text == "far right"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("I'm sorry, but I can't help with that.", "refused: I'm sorry"),
        ("I’m unable to say.", "refused"),
        ("As an AI language model I do not label.", "refused"),
        ('{"label": "I cannot determine this", "condition": []}', "refused"),
        ("{", "no label"),
        ('{"label": "pole ri', "no label"),
        ("word " * 400, "no label"),
        ("[1, 2]" * 30, "no label"),
        ("one line\nand another", "no label"),
        ('{"label": ""}', "no label"),
        ('{"label": null, "condition": []}', "no label"),
    ],
)
def test_no_label_is_made_of_what_is_none(labeller, codes, server, answer: str, said: str) -> None:
    server.answers = [reply(answer)]
    with pytest.raises(NoAnswer, match=said):
        labeller.label(codes)


def test_a_label_is_one_line_that_no_terminal_stumbles_over(labeller, codes, server) -> None:
    server.answers = [reply({**RIGHT, "label": "cart\x1b[31m\n right " + "far " * 100})]
    label = labeller.label(codes)
    assert label.text.startswith("cart [31m right far")
    assert label.text.isprintable()
    assert len(label.text) <= 160


def test_nobody_is_asked_where_nothing_could_be_scored(labeller, seen, server) -> None:
    rare = np.eye(STEPS)[np.flatnonzero(~seen.held_out)[0]]
    assert labeller.label(np.zeros(STEPS)).text == "never active"
    assert labeller.label(np.full(STEPS, 2.0)).text == "always equally active"
    assert labeller.label(rare).text == "too rarely active to label"
    assert server.requests == []
