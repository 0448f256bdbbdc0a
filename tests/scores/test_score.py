"""All scores of a dictionary, on a small real recording of CartPole."""

import json

import numpy as np
import pytest
import torch

from policyscope.address import Site
from policyscope.agents.adapters.torch import TorchAgent
from policyscope.dictionaries.relu import ReLU
from policyscope.envs.environment import Environment
from policyscope.envs.make import make
from policyscope.envs.metric import find_metrics
from policyscope.errors import NotEnoughData
from policyscope.recordings.recording import Recording
from policyscope.rollouts.record import record_rollout
from policyscope.scores import score as scoring
from policyscope.scores.score import Score, decomposed, score
from policyscope.testing.planted import (
    features,
    layered,
    perfect_dictionary,
    silent_dictionary,
    unit_features,
)
from policyscope.zoo.cartpole import ENVIRONMENT

UNITS = np.eye(4).tolist()
# Pushes towards where the pole leans and swings, too weakly to hold it up for long.
HEAD = [[0.0] * 4, [0.0, 0.0, 4.0, 0.5]]
AGENT = TorchAgent(layered((UNITS, [0.0] * 4), (HEAD, [0.0, 0.0]), activation="tanh"))
SITE = "fc1:out"


def cartpole(rows: int) -> Environment:
    return make(ENVIRONMENT, rows)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return record_rollout(
        AGENT,
        cartpole,
        tmp_path_factory.mktemp("score") / "main",
        sites=[Site.parse(SITE)],
        metrics=find_metrics(ENVIRONMENT, ["pole_angle", "cart_position"]),
        episodes=30,
    )


def scored(recording: Recording, dictionary: ReLU, **choices: object) -> Score:
    how: dict[str, object] = {"seeds": range(8)} | choices
    return score(AGENT, cartpole, recording, dictionary, **how)  # pyright: ignore


@pytest.fixture(scope="module")
def perfect(recording: Recording) -> Score:
    return scored(recording, perfect_dictionary(4, SITE), held_out={1, 4, 8, 9, 12, 20, 21, 25})


def test_a_perfect_dictionary_has_perfect_scores(perfect: Score) -> None:
    assert perfect.reconstruction.unexplained == 0
    assert perfect.reconstruction.dead == 0
    assert perfect.agreement is not None
    assert (perfect.agreement.actions, perfect.agreement.kl) == (1.0, 0.0)
    assert perfect.return_kept is not None
    assert perfect.return_kept.value == 1.0
    assert perfect.top_features is not None
    assert perfect.top_features.unexplained[-1] < 1e-6


def test_a_silent_dictionary_has_none(recording: Recording) -> None:
    mean = torch.from_numpy(recording.read(SITE).mean(0, dtype=np.float64).astype(np.float32))
    found = scored(recording, silent_dictionary(mean, SITE))
    np.testing.assert_allclose(found.reconstruction.unexplained, 1.0, rtol=1e-6)
    assert found.reconstruction.l0 == 0
    assert found.return_kept is not None
    np.testing.assert_allclose(found.return_kept.value, 0.0, atol=0.05)


def test_events_are_told_by_the_feature_that_reads_them(recording: Recording) -> None:
    events = scored(recording, unit_features(4, SITE), seeds=()).events
    found = {event.event: event.to_json() for event in events}
    assert found["pole_leans_right"]["feature"] == 2
    assert found["pole_leans_right"]["above"] is True
    assert found["pole_leans_right"]["accuracy"] > 0.95


def test_held_out_episodes_alone_are_scored(perfect: Score, recording: Recording) -> None:
    assert perfect.is_held_out
    assert perfect.episodes == 8
    lengths = {episode.index: episode.length for episode in recording.episodes}
    assert perfect.reconstruction.steps == sum(lengths[e] for e in (1, 4, 8, 9, 12, 20, 21, 25))
    whole = scored(recording, perfect_dictionary(4, SITE), seeds=())
    assert whole.episodes == 30
    assert whole.return_kept is None
    assert not whole.is_held_out
    assert "whether the fit saw them is not known" in str(whole.table())


def test_the_json_keeps_to_the_contract(perfect: Score, recording: Recording) -> None:
    document = json.loads(json.dumps(perfect.to_json(), allow_nan=False))
    assert set(document) >= {
        *("unexplained", "l0", "dead", "density", "return_kept", "action_agreement"),
    }
    assert set(document["return_kept"]) >= {"value", "low", "high"}
    bare = scored(recording, unit_features(4, SITE), seeds=()).to_json()
    assert bare["return_kept"] is None
    assert bare["stability"] is None
    json.dumps(bare, allow_nan=False)


def test_it_prints_as_a_line_and_as_a_table(perfect: Score) -> None:
    assert str(perfect).startswith("unexplained 0.000 · L0 ")
    assert "return kept 100%" in str(perfect)
    assert "On 8 episodes: those given as held out of the fit." in str(perfect.table())
    assert "clinearity" in perfect._repr_html_()


def test_wide_dictionaries_leave_the_exact_curve_out(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "GREEDY_WIDTH", 3)
    found = scored(recording, unit_features(4, SITE), seeds=())
    assert found.top_features is None
    assert found.to_json()["unexplained_by_top_features"] is None
    assert found.duplicates is None
    assert found.to_json()["duplicates"] is None


def test_features_that_say_the_same_are_counted(recording: Recording) -> None:
    assert scored(recording, unit_features(4, SITE), seeds=()).to_json()["duplicates"] == 0
    units = np.eye(4)[[0, 1, 2, 0]].tolist()
    twice = features(units, units, reads=SITE, writes=SITE)
    found = scored(recording, twice, seeds=())
    document = found.to_json()
    assert document["duplicates"] == 0.5
    assert [(p["first"], p["second"]) for p in document["duplicate_pairs"]] == [(0, 3)]
    assert "#0 as #3" in str(found.table())


def test_episodes_that_are_not_there_are_refused(recording: Recording) -> None:
    with pytest.raises(NotEnoughData, match="None of the held-out episodes are in recording"):
        scored(recording, unit_features(4, SITE), held_out={1000})


def test_maps_are_decomposed_position_by_position() -> None:
    maps = torch.randn(5, 4, 2, 3, generator=torch.Generator().manual_seed(0)).numpy()
    codes, target, reconstruction = decomposed(perfect_dictionary(4), maps, maps)
    assert codes.shape == (30, 8)
    np.testing.assert_array_equal(target, maps.transpose(0, 2, 3, 1).reshape(30, 4))
    np.testing.assert_array_equal(reconstruction, target)
