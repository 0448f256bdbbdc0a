"""Fitting on a recording: episodes are held out whole, and the best of the seeds is kept."""

from pathlib import Path

import pytest

from policyscope.address import Site
from policyscope.dictionaries.relu import ReLU
from policyscope.document import as_text
from policyscope.errors import InvalidInput, UnknownName
from policyscope.recordings.recording import Recording
from policyscope.studies.fitting import (
    Samples,
    compare_choices,
    compare_penalties,
    fit_choices,
    fit_table,
    gather,
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
    held = sum(int((episode == number).sum()) for number in samples.held_out)
    assert len(samples.held_x) == len(samples.held_y) == held
    assert len(samples.x) == len(samples.y) == recording.steps - held
    assert 0.1 < len(samples.held_out) / len(set(episode.tolist())) < 0.3


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
