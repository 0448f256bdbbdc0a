"""Describing features of a chosen dictionary from a small real recording of CartPole."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from policyscope.address import Moment, Site
from policyscope.agents.adapters.function import FunctionAgent
from policyscope.agents.adapters.torch import TorchAgent
from policyscope.dictionaries.relu import ReLU
from policyscope.envs.environment import Environment
from policyscope.envs.make import make
from policyscope.envs.metric import find_metrics
from policyscope.errors import NotEnoughData, UnknownName
from policyscope.features.describe import (
    Codes,
    FeatureTable,
    describe,
    encode,
)
from policyscope.recordings.recording import Recording
from policyscope.rollouts.record import record_rollout
from policyscope.rollouts.states import sample_states
from policyscope.testing.planted import (
    CountingEnvironment,
    features,
    layered,
    summing_agent,
    unit_features,
)
from policyscope.zoo.cartpole import ENVIRONMENT

METRICS = ("cart_position", "cart_velocity", "pole_angle", "pole_angular_velocity")
UNITS = np.eye(4).tolist()
# Pushes towards where the pole leans and swings, too weakly to hold it up for long.
HEAD = [[0.0] * 4, [0.0, 0.0, 4.0, 0.5]]
AGENT = TorchAgent(layered((UNITS, [0.0] * 4), (HEAD, [0.0, 0.0]), activation="tanh"))
RIGHT, LEFT, DEAD = 0, 1, 2


def cartpole(rows: int) -> Environment:
    return make(ENVIRONMENT, rows)


def leaning() -> ReLU:
    """Fires with the pole leaning right, with it leaning left, and never; reads the observation."""
    encoder = [[0.0, 0.0, 1.0, 0.0], [0.0, 0.0, -1.0, 0.0], [0.0] * 4]
    directions = [[0.0, 0.0, 1.0, 0.0], [0.0, 0.0, -1.0, 0.0], [0.0] * 4]
    return features(encoder, directions, reads="fc1:in", writes="fc1:out", name="lean/k3")


def record(directory: Path, episodes: int, *metrics: str) -> Recording:
    return record_rollout(
        AGENT,
        cartpole,
        directory,
        sites=[Site.parse("fc1:in"), Site.parse("fc1:out")],
        metrics=find_metrics(ENVIRONMENT, metrics),
        episodes=episodes,
    )


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return record(tmp_path_factory.mktemp("describe") / "main", 24, *METRICS)


@pytest.fixture(scope="module")
def table(recording: Recording) -> FeatureTable:
    return describe(AGENT, recording, leaning())


def test_statistics_are_those_of_the_recorded_codes(
    table: FeatureTable, recording: Recording
) -> None:
    angle = recording.read("pole_angle").astype(np.float64)
    for index, sign in ((RIGHT, 1), (LEFT, -1)):
        codes = np.maximum(sign * angle, 0)
        card = table[index]
        np.testing.assert_allclose(card.maximum, codes.max(), rtol=1e-6)
        np.testing.assert_allclose(card.mean, codes.mean(), rtol=1e-5)
        np.testing.assert_allclose(card.std, codes.std(), rtol=1e-2)
        np.testing.assert_allclose(card.firing_rate, (codes > 0).mean())
        assert card.counts.sum() == len(angle) == table.steps
        assert not card.is_dead


def test_correlations_have_the_planted_sign(table: FeatureTable) -> None:
    assert table.strongest("pole_angle").feature.index in (RIGHT, LEFT)
    for index, sign in ((RIGHT, 1), (LEFT, -1)):
        r = {c.metric: c for c in table[index].correlations}["pole_angle"]
        assert sign * r.r > 0.5
        assert r.low <= r.r <= r.high


def test_top_moments_lead_back_to_the_recording(table: FeatureTable, recording: Recording) -> None:
    document = table[RIGHT].to_json("main")
    best = document["top"][0]
    row = recording.moment(Moment.parse(best["moment"]))
    np.testing.assert_allclose(best["activation"], row["pole_angle"], rtol=1e-6)
    np.testing.assert_allclose(best["metrics"]["pole_angle"], row["pole_angle"], rtol=1e-6)
    episodes = [Moment.parse(one["moment"]).episode for one in document["top"]]
    assert len(set(episodes)) == len(episodes)


def test_labels_speak_of_the_planted_metric_and_never_against_their_sign(
    table: FeatureTable,
) -> None:
    for index, words, comparison in ((RIGHT, "right", ">"), (LEFT, "left", "<")):
        label = table[index].label
        assert label is not None
        assert words in label.text
        assert f"pole_angle {comparison}" in label.rule
        assert label.precision > 0.9
        assert label.recall > 0.9


def test_effects_are_those_of_the_weights(table: FeatureTable) -> None:
    assert table[RIGHT].output == "logits"
    for index, sign in ((RIGHT, 1), (LEFT, -1)):
        card = table[index]
        assert card.measured_effect[0] == 0
        # Angles are small, where tanh is nearly the angle itself.
        np.testing.assert_allclose(card.direct_effect[1], sign * HEAD[1][2], rtol=0.02)
        assert sign * card.measured_low[1] > 0
        assert card.effect_states > 0


def test_a_recurrent_agent_has_effects_in_the_states_it_was_in(tmp_path: Path) -> None:
    agent, site = summing_agent(), Site.parse("fc2:in")
    summed = record_rollout(agent, CountingEnvironment, tmp_path / "sum", sites=[site], episodes=20)
    table = describe(agent, summed, unit_features(3))
    assert table[2].direct_effect == (0.25, 0.0)
    assert table[1].measured_effect[1] > 0
    effect = table.to_json()["features"][1]["action_effect"]
    assert effect["states"] > 0
    assert effect["episodes"] > 8
    assert effect["reason"] == ""


def test_where_there_are_no_effects_it_is_said_why(recording: Recording) -> None:
    """This agent says it has a state, and what that is cannot be told by row."""
    agent = FunctionAgent(AGENT.module, lambda seen: seen[:, 0].long(), lambda rows: torch.zeros(4))
    table = describe(agent, recording, leaning())
    effect = table.to_json()["features"][RIGHT]["action_effect"]
    assert effect["output"] is None
    assert effect["measured"] == effect["direct"] == []
    assert "no axis of it is the rows" in effect["reason"]
    assert "No effects on the actions: Tensor 0" in " ".join(str(table).split())


def test_a_feature_that_never_fires_is_called_dead(table: FeatureTable) -> None:
    card = table[DEAD]
    assert card.is_dead
    assert card.firing_rate == 0
    assert "never active" in str(card.label)
    assert card.effect_states == 0
    assert "dead" in str(table)


def test_the_json_keeps_to_the_contract(table: FeatureTable) -> None:
    document = json.loads(json.dumps(table.to_json(), allow_nan=False))
    assert len(document["features"]) == 3
    for feature in document["features"]:
        assert set(feature) >= {
            *("index", "max", "mean", "std", "firing_rate", "dead", "top", "correlations"),
            *("action_effect", "label"),
        }
        assert set(feature["correlations"]) == set(METRICS)
        assert all(set(c) >= {"r", "low", "high"} for c in feature["correlations"].values())
        assert set(feature["label"]) >= {"text", "precision", "recall", "auroc"}
    first = document["features"][RIGHT]["top"][0]
    assert set(first) >= {"moment", "activation", "metrics"}
    assert first["moment"].startswith("main/ep")


def test_it_prints_as_a_table(table: FeatureTable) -> None:
    assert "Features of lean/k3" in str(table)
    assert "<table" in table._repr_html_()
    assert len(table) == 3
    with pytest.raises(UnknownName, match="No feature 3"):
        table[3]


def test_too_few_episodes_leave_intervals_and_labels_out(tmp_path: Path) -> None:
    short = describe(AGENT, record(tmp_path / "short", 2, *METRICS), leaning())
    assert short.correlations is None
    assert short[RIGHT].correlations == ()
    assert short[RIGHT].label is None
    with pytest.raises(NotEnoughData, match="correlations need at least four"):
        short.strongest("pole_angle")
    json.dumps(short.to_json(), allow_nan=False)


def test_without_metrics_there_is_nothing_to_correlate_with(tmp_path: Path) -> None:
    bare = describe(AGENT, record(tmp_path / "bare", 12), leaning())
    assert bare.metrics == ()
    assert bare[RIGHT].label is None
    assert len(bare[RIGHT].top) == 5
    json.dumps(bare.to_json(), allow_nan=False)


def test_an_empty_recording_is_refused(tmp_path: Path) -> None:
    recording = record(tmp_path / "main", 2)
    for shard in recording.shards:
        shard.path.unlink()
    with pytest.raises(NotEnoughData, match="'main' is empty"):
        describe(AGENT, Recording.open(tmp_path / "main"), leaning())


def test_a_site_that_was_not_recorded_is_unknown(recording: Recording) -> None:
    elsewhere = features(UNITS, UNITS, reads="fc2:in", writes="fc2:in")
    with pytest.raises(UnknownName, match="fc2:in"):
        describe(AGENT, recording, elsewhere)


def test_sampled_states_come_with_their_episodes(recording: Recording) -> None:
    states = sample_states(recording, 50, seed=0)
    assert states.observation.shape == (50, 4)
    every = recording.read("observation")
    for seen, number in zip(states.observation.numpy(), states.episode, strict=True):
        mine = recording.read("episode")[(every == seen).all(1)]
        assert number in mine


def test_of_a_map_each_feature_has_its_strongest_position() -> None:
    maps = torch.randn(5, 4, 2, 3, generator=torch.Generator().manual_seed(0)).numpy()
    codes = encode(features(UNITS, UNITS, reads="conv:out", writes="conv:out"), maps)
    np.testing.assert_allclose(codes, np.maximum(maps, 0).max((2, 3)))


def test_a_metric_that_is_not_always_known_is_used_where_it_is() -> None:
    part = Codes(
        codes=np.arange(4.0)[:, None],
        metrics=np.array([[1.0], [np.nan], [3.0], [4.0]]),
        episode=np.zeros(4, np.int64),
        step=np.arange(4),
    )
    np.testing.assert_array_equal(part.where_known().codes[:, 0], [0, 2, 3])
