"""All scores of a dictionary, on a small real recording of CartPole."""

import json
from pathlib import Path

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
from policyscope.scores import gathered
from policyscope.scores.gathered import decomposed
from policyscope.scores.score import Score, score
from policyscope.testing.planted import (
    CountingEnvironment,
    features,
    layered,
    perfect_dictionary,
    silent_dictionary,
    summing_agent,
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


def test_a_recurrent_agent_has_an_action_agreement(tmp_path: Path) -> None:
    agent, sites = summing_agent(), [Site.parse("fc2:in")]
    summed = record_rollout(agent, CountingEnvironment, tmp_path / "sum", sites=sites, episodes=20)
    found = score(agent, CountingEnvironment, summed, perfect_dictionary(3), seeds=())
    assert found.agreement is not None
    assert found.agreement.actions == 1.0
    document = found.to_json()
    assert document["states"] == summed.steps
    assert document["state_episodes"] == 20
    assert "states of 20 episodes" in str(found.table())


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
    assert set(document) >= {
        *("unexplained_low", "unexplained_high", "dense", "density_histogram", "duplicates"),
        *("action_agreement_low", "action_agreement_high", "value_unexplained"),
        *("action_unexplained", "monosemanticity", "description", "causal_share", "missing"),
    }
    bare = scored(recording, unit_features(4, SITE), seeds=()).to_json()
    assert bare["return_kept"] is None
    assert bare["stability"] is None
    json.dumps(bare, allow_nan=False)


def test_samples_have_intervals_over_episodes(recording: Recording) -> None:
    units = np.eye(4)[:3].tolist()
    found = scored(recording, features(units, units, reads=SITE, writes=SITE), seeds=())
    document = found.to_json()
    for name in ("unexplained", "action_agreement", "action_unexplained"):
        assert document[f"{name}_low"] < document[name] < document[f"{name}_high"]
    np.testing.assert_allclose(
        document["unexplained"], 0 if found.unexplained is None else found.unexplained.value
    )
    assert document["value_unexplained"] is None  # an agent of logits alone has no value
    text = str(found.table())
    assert "action unexplained" in text
    assert "In brackets 95 % intervals" in text


def test_features_are_set_beside_the_units_of_their_site(recording: Recording) -> None:
    """The angle and the position are read by one unit each, and by the features of these."""
    found = scored(recording, unit_features(4, SITE), seeds=()).monosemanticity
    assert found is not None
    assert found.features[2] > 0.95  # the unit that is the angle
    assert found.names[found.metric[2]] == "pole_angle"
    assert found.units[[0, 2]].min() > 0.95
    assert "monosemanticity" in str(scored(recording, unit_features(4, SITE), seeds=()).table())


def test_what_other_verbs_found_is_joined_and_what_is_missing_says_why(perfect: Score) -> None:
    assert set(perfect.joined(None, None).missing) >= {"description", "causal share"}
    assert "policyscope sweep" in str(perfect.joined(None, None).table())
    card = {"dead": False, "label": {"auroc": 0.8}}
    condition = {"feature": 3, "alpha": 1.0, "confirmed": True}
    swept = {"conditions": [condition], "episodes": 9, "random_band": {"directions": 39}}
    full = perfect.joined({"features": [card]}, swept)
    document = json.loads(json.dumps(full.to_json(), allow_nan=False))
    assert document["description"]["auroc"] == 0.8
    assert document["causal_share"]["share"] == 1.0
    assert document["missing"] == {}
    assert "causal share" in str(full.table())
    unlabelled = perfect.joined({"features": [{"dead": False, "label": None}]}, None)
    assert "too few episodes" in unlabelled.missing["description"]


def test_it_prints_as_a_line_and_as_a_table(perfect: Score) -> None:
    assert str(perfect).startswith("unexplained 0.000 · L0 ")
    assert "return kept 100%" in str(perfect)
    assert "On 8 episodes: those given as held out of the fit." in str(perfect.table())
    assert "clinearity" in perfect._repr_html_()


def test_wide_dictionaries_leave_the_exact_curve_out(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathered, "GREEDY_WIDTH", 3)
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
