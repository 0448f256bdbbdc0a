"""Files of bare weights: each agent that others trained opens untrusted, acts and can be read."""

import importlib
import os
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from torch import nn

from policyscope.agents.adapters.state_dict import open_named, open_state_dict, parse_arguments
from policyscope.agents.hooks import Hooks
from policyscope.agents.rebuilt import REBUILT
from policyscope.agents.sites import list_sites
from policyscope.errors import CorruptFile, InvalidInput, UnknownName

REPOSITORY = Path(__file__).parents[3]
AGENTS = Path(os.environ.get("POLICYSCOPE_AGENTS", REPOSITORY.parent / "shared" / "agents"))
ROWS = 3


def integers(high, *shape, dtype=torch.uint8):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, high, (ROWS, *shape), generator=generator).to(dtype)


def doubles(width):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(ROWS, width, generator=generator, dtype=torch.float64)


SHARED = {
    "nikhilbarhate_ppo_cartpole/PPO_CartPole-v1_0_0.pth": (doubles(4), {"logits": 2}),
    "xinjinghao_td3_humanoid/td3_humanoid.pth": (doubles(376), {"mean": 17}),
    "xinjinghao_duelddqn_enduro/duelddqn_enduro.pth": (integers(256, 4, 84, 84), {"values": 9}),
    "baby_a3c_pong/model.80.tar": (integers(256, 210, 160, 3), {"logits": 6}),
    "ppo_lstm_minigrid_memory/Test-PPO-LSTM_06.pt": (integers(3, 7, 7, 3), {"logits": 7}),
    "memorydt_minigrid/MemoryGatedMLP.pt": (integers(3, 7, 7, 3), {"logits": 7}),
    "gomoku13_alphazero/training_steps_50000.ckpt": (integers(2, 17, 13, 13), {"logits": 169}),
    "gomoku13_alphazero/training_steps_219000.ckpt": (integers(2, 17, 13, 13), {"logits": 169}),
}
"""File -> something to act on, and how wide its outputs are."""


def shared(file):
    if not (AGENTS / file).is_file():
        pytest.skip(f"there is no {AGENTS / file}; POLICYSCOPE_AGENTS says where such agents are")
    return AGENTS / file


def test_every_bare_file_of_the_shared_agents_is_tested():
    if not AGENTS.is_dir():
        pytest.skip(f"there is no {AGENTS}")
    weights = [
        path for path in AGENTS.rglob("*") if path.suffix in (".pt", ".pth", ".tar", ".ckpt")
    ]
    files = {path.relative_to(AGENTS).as_posix() for path in weights}
    known = {*SHARED, *(f for f in files if f.startswith(("sb3_zoo", "gomoku13")))}
    assert files == known


@pytest.mark.parametrize("file", SHARED)
def test_it_opens_untrusted_and_gives_what_its_network_gives(file):
    agent, (observation, widths) = open_state_dict(shared(file)), SHARED[file]
    assert agent.is_safe
    state = agent.initial_state(ROWS)
    with torch.no_grad():
        for _ in range(2):
            acted = agent.act(observation, state, None)
            state = acted.state
    assert len(acted.action) == ROWS
    for name, width in widths.items():
        assert acted.outputs[name].shape == (ROWS, width)
        assert acted.outputs[name].isfinite().all()
    if "value" in acted.outputs:
        assert acted.outputs["value"].shape == (ROWS,)


@pytest.mark.parametrize("file", SHARED)
def test_every_site_is_listed_and_fires(file):
    agent, (observation, _) = open_state_dict(shared(file)), SHARED[file]
    listed = list_sites(agent, observation)
    assert listed
    with torch.no_grad(), Hooks(agent.module, [info.site for info in listed]) as hooks:
        hooks.run(agent.act, observation, agent.initial_state(ROWS), None)
    assert hooks.values.keys() == {info.site for info in listed}
    networks = {agent.network_of(info.site.path) for info in listed}
    assert "policy" in networks
    assert networks <= {"policy", "value", "shared"}


@pytest.mark.parametrize("file", SHARED)
def test_a_row_acts_alone_as_among_others_and_begins_anew_when_it_is_reset(file):
    agent, (observation, _) = open_state_dict(shared(file)), SHARED[file]
    head = next(iter(SHARED[file][1]))
    with torch.no_grad():
        fresh = agent.act(observation, agent.initial_state(ROWS), None)
        going = agent.act(observation, fresh.state, None)
        alone = agent.act(observation[1:2], agent.initial_state(1), None)
        mixed = agent.act(observation, agent.reset_state(fresh.state, np.array([1])), None)
    torch.testing.assert_close(alone.outputs[head], fresh.outputs[head][1:2], rtol=1e-4, atol=1e-4)
    assert torch.equal(mixed.outputs[head][1], fresh.outputs[head][1])
    assert torch.equal(mixed.outputs[head][::2], going.outputs[head][::2])


def play(agent, environments, part=None):
    """The return of one episode in each environment, without sampling."""
    observed = [environment.reset(seed=seed)[0] for seed, environment in enumerate(environments)]
    state, over = agent.initial_state(len(observed)), np.zeros(len(observed), bool)
    returns = np.zeros(len(observed))
    while not over.all():
        views = observed if part is None else [one[part] for one in observed]
        with torch.no_grad():
            acted = agent.act(torch.from_numpy(np.stack(views)), state, None)
        state = acted.state
        for row in np.flatnonzero(~over):
            step = environments[row].step(acted.action[row])
            observed[row], reward, terminated, truncated, _ = step
            returns[row] += reward
            over[row] = terminated or truncated
    return returns


def test_the_cartpole_agent_balances_for_500_steps_ten_times():
    agent = open_state_dict(shared("nikhilbarhate_ppo_cartpole/PPO_CartPole-v1_0_0.pth"))
    returns = play(agent, [gymnasium.make("CartPole-v1") for _ in range(10)])
    assert returns.tolist() == [500.0] * 10


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_humanoid_runs_as_it_was_measured():
    pytest.importorskip("mujoco")
    agent = open_state_dict(shared("xinjinghao_td3_humanoid/td3_humanoid.pth"))
    returns = play(agent, [gymnasium.make("Humanoid-v4") for _ in range(2)])
    # 5949.8 ± 693.2 over ten episodes.
    assert returns.min() > 5949.8 - 2 * 693.2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_pong_agent_wins_as_it_was_measured():
    gymnasium.register_envs(pytest.importorskip("ale_py"))
    agent = open_state_dict(shared("baby_a3c_pong/model.80.tar"))
    # 19.3 ± 1.2 over ten episodes.
    assert play(agent, [gymnasium.make("Pong-v4")])[0] > 19.3 - 3 * 1.2


@pytest.mark.slow
def test_the_enduro_agent_drives_as_it_was_measured():
    gymnasium.register_envs(pytest.importorskip("ale_py"))
    pytest.importorskip("cv2")
    game = gymnasium.make("EnduroNoFrameskip-v4")
    game = gymnasium.wrappers.AtariPreprocessing(game, noop_max=0)
    agent = open_state_dict(shared("xinjinghao_duelddqn_enduro/duelddqn_enduro.pth"))
    # 175 in each of three episodes: without idle steps at its start it is the same every time.
    assert play(agent, [gymnasium.wrappers.FrameStackObservation(game, 4)]).tolist() == [175.0]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("return_to_go", "success"), [(1.0, 1.0), (0.0, 0.0)])
@pytest.mark.parametrize("one_hot", [True, False])
def test_memory_dt_goes_where_its_return_to_go_says(return_to_go, success, one_hot):
    memory = pytest.importorskip("minigrid.envs.memory")
    wrappers = pytest.importorskip("minigrid.wrappers")

    class FixedStart(memory.MemoryEnv):
        def _gen_grid(self, width, height):
            super()._gen_grid(width, height)
            self.agent_pos, self.agent_dir = np.array((1, height // 2)), 0

    rooms = [FixedStart(size=7, max_steps=50) for _ in range(20)]
    rooms = [wrappers.OneHotPartialObsWrapper(room) for room in rooms] if one_hot else rooms
    arguments = {"return_to_go": return_to_go}
    agent = open_state_dict(shared("memorydt_minigrid/MemoryGatedMLP.pt"), None, arguments)
    assert (play(agent, rooms, "image") > 0).mean() == success


def test_what_was_found_and_assumed_is_said():
    agent = open_state_dict(shared("memorydt_minigrid/MemoryGatedMLP.pt"))
    assert agent.assumed[0] == "Weights found under 'model_state_dict' in the checkpoint."
    assert "Return-to-go 1" in agent.assumed[1]
    assert agent.environment == "MiniGrid-MemoryS7FixedStart-v0"


def test_every_architecture_cites_its_source():
    for name in REBUILT.names():
        kind = REBUILT.get(name)
        assert kind.__doc__
        text = f"{importlib.import_module(kind.__module__).__doc__} {kind.__doc__}"
        assert "github.com/" in text or name == "feedforward", name


def test_a_named_architecture_that_is_unknown_names_the_known(tmp_path):
    with pytest.raises(UnknownName, match="Did you mean 'baby-a3c'"):
        open_named(f"baby-a2c:{tmp_path / 'agent.pt'}")
    with pytest.raises(InvalidInput, match="names no weights"):
        open_named("feedforward")


def test_weights_of_an_unknown_network_are_shown(tmp_path):
    torch.save(nn.MultiheadAttention(4, 2).state_dict(), tmp_path / "agent.pt")
    with pytest.raises(
        InvalidInput, match=r"no known one: in_proj_weight \[12, 4\].*module:function"
    ):
        open_state_dict(tmp_path / "agent.pt")


def test_weights_of_another_architecture_than_the_named_are_refused(tmp_path):
    torch.save(nn.Linear(4, 2).state_dict(), tmp_path / "agent.pt")
    with pytest.raises(InvalidInput, match="not those of a 'baby-a3c' network"):
        open_named(f"baby-a3c:{tmp_path / 'agent.pt'}")


def test_weights_that_do_not_fit_what_was_said_are_corrupt(tmp_path):
    cell, linear = nn.GRUCell(800, 8), nn.Linear(8, 2)
    convs = {f"conv{i}": nn.Conv2d(1 if i == 1 else 32, 32, 3) for i in range(1, 5)}
    whole = nn.ModuleDict({**convs, "gru": cell, "actor_linear": linear})
    torch.save(whole.state_dict(), tmp_path / "agent.pt")
    with pytest.raises(CorruptFile, match=r"does not fit a baby-a3c network: Missing key.*critic"):
        open_state_dict(tmp_path / "agent.pt")


def test_arguments_are_numbers_truths_or_words():
    pairs = ["one=1", "half=0.5", "yes=true", "word=tanh", "steps=4-2-1"]
    expected = {"one": 1, "half": 0.5, "yes": True, "word": "tanh", "steps": "4-2-1"}
    assert parse_arguments(pairs) == expected
    with pytest.raises(InvalidInput, match="write key=value"):
        parse_arguments(["tanh"])
