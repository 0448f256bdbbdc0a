"""Fitting on a recording: episodes are held out whole, and the best of the seeds is kept."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policyscope.address import Site
from policyscope.dictionaries.relu import ReLU
from policyscope.dictionaries.topk import TopK
from policyscope.document import as_text
from policyscope.errors import InvalidInput, UnknownName
from policyscope.recordings.recording import Recording
from policyscope.studies.fitting import (
    Basis,
    Samples,
    basis_of,
    check_widths,
    compare_choices,
    compare_penalties,
    fit_choices,
    fit_table,
    gather,
    split,
)

READS, WRITES = Site.parse("fc2:in"), Site.parse("fc3:in")
HOW = {"seeds": 3, "epochs": 2, "batch_size": 64, "learning_rate": 1e-3, "seed": 0}


@pytest.fixture(scope="module")
def recording(made_study: Path) -> Recording:
    return Recording.open(made_study / "recordings/main")


@pytest.fixture(scope="module")
def samples(recording: Recording) -> Samples:
    return gather(recording, READS, WRITES, seed=0)


def test_held_out_episodes_and_the_others_share_no_sample(
    recording: Recording, samples: Samples
) -> None:
    episode = recording.read("episode")
    choosing = int(np.isin(episode, samples.choose_on).sum())
    held = int(np.isin(episode, samples.held_out).sum())
    assert len(samples.choose_x) == len(samples.choose_y) == choosing
    assert len(samples.x) == len(samples.y) == recording.steps - choosing - held
    parts = (samples.fitted_on, samples.choose_on, samples.held_out)
    assert sorted(sum(parts, ())) == np.unique(episode).tolist()
    for part in parts[1:]:
        assert 0.05 < len(part) / len(set(episode.tolist())) < 0.2


@given(st.integers(0, 60), st.integers(0, 5))
def test_the_split_leaves_no_part_empty_where_there_are_episodes_enough(
    count: int, seed: int
) -> None:
    parts = split(np.arange(count), seed)
    assert sorted(set.union(*parts)) == list(range(count))
    assert sum(map(len, parts)) == count
    assert all(parts) == (count >= 4)


def notes_of(recording: Recording, /, **changed: Any) -> dict[str, Any]:
    """What a fit from three seeds that held the last two episodes out would write down."""
    numbers = np.unique(recording.read("episode")).tolist()
    notes = {
        "seeds": [0, 1, 2],
        "recording": recording.name,
        "recording_seed": recording.header.seed,
        "seen": numbers[:-2],
        "held_out": numbers[-2:],
    }
    return {name: value for name, value in (notes | changed).items() if value is not None}


def test_the_score_says_what_its_episodes_are(recording: Recording) -> None:
    numbers = frozenset(np.unique(recording.read("episode")).tolist())
    held = frozenset(sorted(numbers)[-2:])

    def basis(**changed: Any) -> Basis:
        return basis_of(notes_of(recording, **changed), recording)

    held_out = "held out of the fit and of the choice of its seed"
    assert basis() == Basis(held, True, held_out)
    assert basis(seeds=[0]) == Basis(held, True, "held out of the fit")
    same = basis(seen=sorted(numbers))
    assert (same.episodes, same.is_held_out) == (numbers, False)
    assert same.words.startswith("the same as those of the fit, and the best of 3 seeds")
    other = "of recording 'main', which the fit did not see"
    assert basis(recording="other", recording_seed=7) == Basis(numbers, True, other)
    # Two names, one seed: the same episodes.
    assert basis(recording="other") == Basis(held, True, other)
    assert not basis(recording="other", seen=sorted(numbers)).is_held_out
    # The same name, made again from another seed.
    assert basis(recording_seed=7) == Basis(numbers, True, held_out)


def test_what_chose_the_seed_in_older_studies_is_not_called_held_out(recording: Recording) -> None:
    found = basis_of(notes_of(recording, seen=None, recording_seed=None), recording)
    assert len(found.episodes) == 2
    assert not found.is_held_out
    assert found.words == "held out of the fit, but the best of 3 seeds was chosen on them"


def test_sizes_are_not_compared_between_choices_of_one_width() -> None:
    check_widths([ReLU(2), ReLU(4)])
    with pytest.raises(InvalidInput, match="width 4 occurs 2 times"):
        check_widths([ReLU(2), ReLU(4, penalty=1.0), ReLU(4)])


def test_what_is_not_a_recorded_site_is_refused(recording: Recording) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'fc1:in'"):
        gather(recording, Site.parse("fc1:out"), WRITES, seed=0)
    with pytest.raises(UnknownName) as refused:
        gather(recording, Site.parse("pole_angle"), WRITES, seed=0)
    # A suggestion must be something that can be asked for.
    assert str(refused.value).endswith("Known: fc1:in, fc2:in, fc3:in.")


def test_the_seed_that_explains_most_is_kept(samples: Samples) -> None:
    (choice,) = fit_choices(samples, [ReLU(4)], READS, WRITES, **HOW)
    scores = [candidate.score.unexplained for candidate in choice.candidates]
    assert choice.best.score.unexplained == min(scores)
    found = choice.to_json()
    assert found["seeds"] == [0, 1, 2]
    assert found["unexplained_by_seed"] == scores
    assert found["seed"] == found["seeds"][scores.index(min(scores))]
    assert as_text(found)
    assert "4 of 4" in str(fit_table([choice]))


def test_more_features_than_the_spectrum_feeds_are_objected_to(samples: Samples) -> None:
    wide, narrow = TopK(width=4096, k=1), TopK(width=1, k=1)
    wide.name, narrow.name = "wide", "narrow"
    site = Site.parse("fc2:in")
    how = {"seeds": 1, "epochs": 1, "batch_size": 4096, "seed": 0}
    found = fit_choices(samples, [wide, narrow], site, site, **how)
    assert found[0].objection.startswith("Width 4,096 is more than the")
    assert found[1].objection == ""
    assert found[0].to_json()["spectrum"]["advised_width"] < 4096
    note = fit_table(found).note
    assert "wide: Width 4,096" in note
    assert "narrow:" not in note


def test_one_seed_has_no_stability(samples: Samples) -> None:
    (choice,) = fit_choices(samples, [ReLU(2)], READS, WRITES, **{**HOW, "seeds": 1})
    assert choice.stability is None
    assert choice.to_json()["stability"] is None
    with pytest.raises(InvalidInput, match="seeds is 0"):
        fit_choices(samples, [ReLU(2)], READS, WRITES, **{**HOW, "seeds": 0})


def test_sizes_need_two_widths(samples: Samples) -> None:
    choices = fit_choices(samples, [ReLU(2), ReLU(4)], READS, WRITES, **HOW)
    assert compare_choices(choices[:1], samples) is None
    sizes = compare_choices(choices, samples)
    assert sizes is not None
    assert [row["width"] for row in sizes.to_json()["rows"]] == [2, 4]


def test_larger_penalties_give_sparser_codes(samples: Samples) -> None:
    choice = ReLU(4)
    choice.reads, choice.writes = READS, WRITES
    how = {**HOW, "epochs": 30, "learning_rate": 1e-2}
    light, heavy = compare_penalties(samples, choice, [1e-6, 10.0], **how)
    assert (light.penalty, heavy.penalty) == (1e-6, 10.0)
    assert heavy.l0 < light.l0
