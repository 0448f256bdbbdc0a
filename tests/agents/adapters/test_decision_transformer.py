"""Hugging Face's decision transformer: opened from a folder, and asked for a return."""

import json

import pytest
import torch

from policyscope.agents.adapters.decision_transformer import (
    DecisionTransformerAgent,
    is_decision_transformer,
    open_decision_transformer,
    open_named,
)
from policyscope.errors import CorruptFile, InvalidInput, UnknownName
from policyscope.testing.agents import AgentContract

transformers = pytest.importorskip("transformers")
CONTEXT = 3


def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes = {"state_dim": 4, "act_dim": 2, "hidden_size": 8, "n_layer": 2, "n_head": 2}
        config = transformers.DecisionTransformerConfig(
            **sizes, max_ep_len=5, bos_token_id=None, eos_token_id=None, use_cache=False
        )
        return transformers.DecisionTransformerModel(config).eval()


@pytest.fixture
def folder(tmp_path):
    torch.save(model().state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text(json.dumps(model().config.to_dict()))
    return tmp_path


class TestContract(AgentContract):
    steps = 7
    absolute_tolerance = 1e-5

    def make(self):
        return DecisionTransformerAgent(model(), return_to_go=10.0, context=CONTEXT)

    def test_every_listed_site_is_readable(self):
        """Masks are one for all rows, so not every site has a row axis; the others must."""

    def test_the_fingerprint_changes_with_every_weight(self):
        """Its hundred weights make this long, and nothing here is its own."""


def test_it_acts_as_the_model_does_on_the_whole_history(folder):
    agent = open_decision_transformer(folder, return_to_go=10.0, scale=2.0, context=4)
    reference, state = model(), agent.initial_state(1)
    states, actions, returns = [], [], [5.0]
    for step in range(4):
        seen = torch.full((1, 4), float(step))
        with torch.no_grad():
            acted = agent.act(seen, state, None)
            states.append(seen)
            given = [*actions, torch.zeros(1, 2)]
            expected = reference(
                states=torch.stack(states, 1),
                actions=torch.stack(given, 1),
                rewards=torch.zeros(1, step + 1, 1),
                returns_to_go=torch.tensor(returns).view(1, -1, 1),
                timesteps=torch.arange(step + 1).view(1, -1),
                attention_mask=torch.ones(1, step + 1, dtype=torch.int64),
            ).action_preds[:, -1]
        torch.testing.assert_close(acted.outputs["mean"], expected)
        actions.append(expected)
        # A reward of one is half a unit of the scaled return.
        state = agent.rewarded(acted.state, torch.ones(1))
        returns.append(returns[-1] - 0.5)


def test_observations_are_normalized_by_the_statistics_that_are_given(folder):
    (folder / "statistics.json").write_text(json.dumps({"mean": [1.0] * 4, "std": [2.0] * 4}))
    plain = open_decision_transformer(folder, 10.0)
    normal = open_decision_transformer(folder, 10.0, statistics=folder / "statistics.json")
    with torch.no_grad():
        one = plain.act(torch.full((2, 4), 3.0), plain.initial_state(2), None)
        other = normal.act(torch.full((2, 4), 7.0), normal.initial_state(2), None)
    torch.testing.assert_close(one.outputs["mean"], other.outputs["mean"])
    assert plain.assumed
    assert not normal.assumed


def test_another_return_to_go_gives_other_actions(folder):
    actions = []
    for wanted in (0.0, 4000.0):
        agent = open_decision_transformer(folder, wanted)
        with torch.no_grad():
            actions.append(agent.act(torch.ones(1, 4), agent.initial_state(1), None).action)
    assert abs(actions[0] - actions[1]).max() > 1e-5


def test_a_folder_is_named_with_what_its_weights_cannot_say(folder):
    agent = open_named(f"return_to_go=10,scale=2,context=4:{folder}")
    assert (agent.return_to_go, agent.scale, agent.context) == (10.0, 2.0, 4)


def test_the_return_to_reach_must_be_said(folder):
    with pytest.raises(InvalidInput, match=r"which return to reach.*return_to_go=3600"):
        open_decision_transformer(folder)


def test_statistics_of_another_width_are_refused(folder):
    with pytest.raises(InvalidInput, match="observation_mean has 3 numbers; expected 4"):
        open_decision_transformer(folder, 1.0, observation_mean=[0.0] * 3)


def test_weights_that_the_configuration_does_not_describe_are_corrupt(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_size": 1 << 14}))
    with pytest.raises(CorruptFile, match=r"does not fit its config\.json"):
        open_decision_transformer(folder, 1.0)


def test_a_folder_of_something_else_is_refused(tmp_path):
    assert not is_decision_transformer(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    assert not is_decision_transformer(tmp_path)
    with pytest.raises(InvalidInput, match=r"no config\.json of a decision transformer"):
        open_decision_transformer(tmp_path, 1.0)


def test_a_folder_without_weights_says_which_it_looks_for(folder):
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(UnknownName, match=r"model\.safetensors"):
        open_decision_transformer(folder, 1.0)
