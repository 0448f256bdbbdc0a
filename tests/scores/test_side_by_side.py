"""Dictionaries side by side: what they share is found, and what they do not share is not."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from policyscope.address import Site
from policyscope.dictionaries.relu import ReLU
from policyscope.errors import InvalidInput
from policyscope.recordings.recording import Recording
from policyscope.rollouts.record import record_rollout
from policyscope.scores.score import Score, score
from policyscope.scores.side_by_side import (
    SideBySide,
    compare_dictionaries,
    match_features,
    share_found,
)
from policyscope.testing.planted import CountingEnvironment, counting_agent, features

SITE = "fc2:in"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return record_rollout(
        counting_agent(),
        CountingEnvironment,
        tmp_path_factory.mktemp("side") / "main",
        sites=[Site.parse(SITE), Site.parse("fc1:in")],
        episodes=40,
    )


def units_of(which: list[int], name: str, site: str = SITE) -> ReLU:
    """A feature for each of these units; the fourth is always one."""
    width = 4 if site == SITE else 3
    rows = np.eye(width)[which].tolist()
    return features(rows, rows, reads=site, writes=site, name=name)


def scored(recording: Recording, dictionary: ReLU) -> Score:
    return score(counting_agent(), CountingEnvironment, recording, dictionary, seeds=())


def compared(recording: Recording, *dictionaries: ReLU) -> SideBySide:
    scores = [scored(recording, dictionary) for dictionary in dictionaries]
    return compare_dictionaries(scores, dictionaries, recording)


def test_a_narrow_dictionary_is_found_in_a_wide_one_and_not_the_other_way(
    recording: Recording,
) -> None:
    found = compared(recording, units_of([0], "narrow"), units_of([0, 1, 2], "wide"))
    there, back = found.match("narrow", "wide"), found.match("wide", "narrow")
    assert there is not None
    assert back is not None
    assert (there.by_code, there.by_direction, there.features) == (1.0, 1.0, 1)
    assert back.features == 3
    np.testing.assert_allclose([back.by_code, back.by_direction], 1 / 3)
    assert found.match("narrow", "narrow") is None


def test_dead_features_are_neither_looked_for_nor_found(recording: Recording) -> None:
    rows = np.eye(4)[[0, 1]].tolist()
    with_dead = features([rows[0], [0.0] * 4], rows, reads=SITE, writes=SITE, name="half")
    there, back = match_features([with_dead, units_of([1], "other")], recording)
    assert (there.features, back.features) == (1, 1)
    assert there.by_direction == back.by_direction == 0.0


def test_directions_of_other_sites_are_not_compared(recording: Recording) -> None:
    """The hidden layer repeats what is observed, so codes agree where directions cannot."""
    there, _ = match_features([units_of([0, 1], "a"), units_of([0, 1], "b", "fc1:in")], recording)
    assert there.by_code == 1.0
    assert math.isnan(there.by_direction)
    assert there.to_json()["by_direction"] is None


def test_in_few_dimensions_chance_finds_directions_too() -> None:
    generator = np.random.default_rng(0)
    few, many = (generator.normal(size=(50, units)) for units in (2, 64))
    assert share_found(few, generator.normal(size=(50, 2))) > 0.9
    assert share_found(many, generator.normal(size=(50, 64))) == 0.0


def test_it_shows_every_score_of_every_dictionary(recording: Recording) -> None:
    found = compared(recording, units_of([0, 1], "first"), units_of([0, 1, 2, 3], "second"))
    text = str(found)
    assert "of first found in" in text
    assert "code 100.0%, direction 100.0%" in text
    assert "All on 40 episodes" in text
    for name in ("unexplained variance", "L0", "dead", "dense", "action agreement"):
        assert name in text
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert [one["dictionary"] for one in document["dictionaries"]] == ["first", "second"]
    assert {(m["ours"], m["theirs"]) for m in document["matches"]} == {
        ("first", "second"),
        ("second", "first"),
    }


def test_it_says_when_the_episodes_differ(recording: Recording) -> None:
    one = scored(recording, units_of([0], "one"))
    other = replace(scored(recording, units_of([1], "other")), episodes=3, basis="some of them")
    assert "Not on the same episodes." in SideBySide((one, other)).note()


def test_it_needs_two_different_dictionaries(recording: Recording) -> None:
    one, same = units_of([0], "one"), units_of([1], "one")
    for given in ([one], [one, same], []):
        with pytest.raises(InvalidInput, match="Two or more different dictionaries"):
            compare_dictionaries([], given, recording)
    with pytest.raises(InvalidInput, match="its own score"):
        compare_dictionaries([], [one, units_of([1], "two")], recording)
