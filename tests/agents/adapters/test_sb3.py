import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from policyscope.address import Site
from policyscope.agents.adapters.sb3 import Sb3Agent, is_sb3, open_named, open_sb3
from policyscope.agents.hooks import Hooks
from policyscope.agents.noise import AddressedNoise
from policyscope.agents.normalization import read_vecnormalize
from policyscope.agents.sites import list_sites
from policyscope.agents.spaces import Box, Discrete
from policyscope.errors import InvalidInput, UnknownName, UntrustedFile
from policyscope.testing.agents import AgentContract

ROWS = 6
TOLERANCE = 1e-5
REPOSITORY = Path(__file__).parents[3]
AGENTS = Path(os.environ.get("POLICYSCOPE_AGENTS", REPOSITORY.parent / "shared" / "agents"))

VECTOR = spaces.Box(-1, 1, (3,), np.float32)
IMAGE = spaces.Box(0, 255, (36, 36, 3), np.uint8)
BOX = spaces.Box(np.array([-2, -1], np.float32), np.array([1, 0.5], np.float32))
PARTS = spaces.Dict(
    {
        "camera": IMAGE,
        "arm": spaces.Box(-1, 1, (2, 2)),
        "button": spaces.Discrete(4),
        "dials": spaces.MultiDiscrete([2, 3]),
        "lights": spaces.MultiBinary(2),
    }
)


@dataclass(frozen=True)
class Case:
    """A model of real Stable-Baselines3 to compare with."""

    kind: str
    policy: str
    observes: spaces.Space[Any]
    acts: spaces.Space[Any]
    told: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""

    @property
    def algorithm(self) -> str:
        known = {"RecurrentPPO": "recurrent_ppo", "MaskablePPO": "maskable_ppo"}
        return known.get(self.kind, self.kind.lower())


SMALL = {"net_arch": [16, 8]}
SDE = {"use_sde": True}
RELU = {"net_arch": {"pi": [16], "vf": [8, 8]}, "activation_fn": torch.nn.ReLU}
LSTM = {"lstm_hidden_size": 8}
# The library itself cannot build an LSTM over one-hot dials.
NO_DIALS = spaces.Dict({key: part for key, part in PARTS.spaces.items() if key != "dials"})
FEED_FORWARD = {
    "ppo": Case("PPO", "MlpPolicy", VECTOR, spaces.Discrete(3)),
    "ppo-box": Case("PPO", "MlpPolicy", VECTOR, BOX, RELU),
    "ppo-linear": Case("PPO", "MlpPolicy", VECTOR, BOX, {"net_arch": []}),
    "ppo-sde": Case("PPO", "MlpPolicy", VECTOR, BOX, {"full_std": False}, SDE),
    "ppo-squashed": Case("PPO", "MlpPolicy", VECTOR, BOX, {"squash_output": True}, SDE),
    "ppo-multi": Case("PPO", "MlpPolicy", spaces.Discrete(5), spaces.MultiDiscrete([2, 3])),
    "ppo-binary": Case("PPO", "MlpPolicy", spaces.MultiDiscrete([2, 3]), spaces.MultiBinary(3)),
    "ppo-cnn": Case("PPO", "CnnPolicy", IMAGE, spaces.Discrete(3)),
    "ppo-cnn-own": Case("PPO", "CnnPolicy", IMAGE, BOX, {"share_features_extractor": False}),
    "ppo-raw-image": Case("PPO", "MlpPolicy", IMAGE, BOX, {"normalize_images": False}),
    "ppo-parts": Case("PPO", "MultiInputPolicy", PARTS, BOX),
    "a2c": Case("A2C", "MlpPolicy", spaces.MultiBinary(4), spaces.Discrete(3)),
    "a2c-sde": Case("A2C", "MlpPolicy", VECTOR, BOX, {"use_expln": True}, SDE),
    "trpo": Case("TRPO", "MlpPolicy", VECTOR, BOX),
    "maskable": Case("MaskablePPO", "MlpPolicy", VECTOR, spaces.Discrete(3)),
    "maskable-binary": Case("MaskablePPO", "MlpPolicy", VECTOR, spaces.MultiBinary(3)),
    "maskable-multi": Case("MaskablePPO", "MlpPolicy", VECTOR, spaces.MultiDiscrete([2, 4])),
    "dqn": Case("DQN", "MlpPolicy", VECTOR, spaces.Discrete(3), SMALL),
    "dqn-cnn": Case("DQN", "CnnPolicy", IMAGE, spaces.Discrete(3)),
    "dqn-parts": Case("DQN", "MultiInputPolicy", PARTS, spaces.Discrete(3)),
    "qrdqn": Case("QRDQN", "MlpPolicy", VECTOR, spaces.Discrete(3), {"n_quantiles": 7, **SMALL}),
    "sac": Case("SAC", "MlpPolicy", VECTOR, BOX, SMALL),
    "sac-sde": Case("SAC", "MlpPolicy", VECTOR, BOX, {"clip_mean": 0.3, **SMALL}, SDE),
    "sac-parts": Case("SAC", "MultiInputPolicy", PARTS, BOX, SMALL),
    "tqc": Case("TQC", "MlpPolicy", VECTOR, BOX, SMALL),
    "td3": Case("TD3", "MlpPolicy", VECTOR, BOX, {"activation_fn": torch.nn.ELU, **SMALL}),
    "td3-cnn": Case("TD3", "CnnPolicy", IMAGE, BOX, SMALL),
    "ddpg": Case("DDPG", "MlpPolicy", VECTOR, BOX, SMALL),
    "ars": Case("ARS", "MlpPolicy", VECTOR, BOX, SMALL),
    "ars-clipped": Case("ARS", "MlpPolicy", VECTOR, BOX, {"squash_output": False, **SMALL}),
    "ars-linear": Case("ARS", "LinearPolicy", VECTOR, BOX),
    "ars-discrete": Case("ARS", "LinearPolicy", VECTOR, spaces.Discrete(3)),
}
RECURRENT = {
    "lstm": Case("RecurrentPPO", "MlpLstmPolicy", VECTOR, spaces.Discrete(3), LSTM),
    "lstm-box": Case("RecurrentPPO", "MlpLstmPolicy", VECTOR, BOX, {**LSTM, "n_lstm_layers": 2}),
    "lstm-shared": Case(
        "RecurrentPPO",
        "MlpLstmPolicy",
        VECTOR,
        BOX,
        {**LSTM, "shared_lstm": True, "enable_critic_lstm": False},
    ),
    "lstm-plain-critic": Case(
        "RecurrentPPO", "MlpLstmPolicy", VECTOR, BOX, {**LSTM, "enable_critic_lstm": False}
    ),
    "lstm-cnn": Case("RecurrentPPO", "CnnLstmPolicy", IMAGE, spaces.Discrete(3), LSTM),
    "lstm-parts": Case("RecurrentPPO", "MultiInputLstmPolicy", NO_DIALS, spaces.Discrete(3), LSTM),
}
CASES = {**FEED_FORWARD, **RECURRENT}
ON_POLICY = {"ppo", "a2c", "trpo", "maskable_ppo", "recurrent_ppo"}


class Idle(gymnasium.Env[Any, Any]):
    """An environment of these spaces in which nothing happens."""

    def __init__(self, observes: spaces.Space[Any], acts: spaces.Space[Any]) -> None:
        self.observation_space = observes
        self.action_space = acts

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        return self.observation_space.sample(), 0.0, False, False, {}


@pytest.fixture(scope="session")
def libraries() -> SimpleNamespace:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sb3 = pytest.importorskip("stable_baselines3", reason="stable-baselines3 is not installed")
        contrib = pytest.importorskip("sb3_contrib", reason="sb3-contrib is not installed")
        return SimpleNamespace(sb3=sb3, contrib=contrib)


@pytest.fixture(scope="session")
def saved(
    libraries: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Any, Path]]:
    """Case name -> the model and its zip, made once."""
    folder, made = tmp_path_factory.mktemp("sb3"), dict[str, tuple[Any, Path]]()

    def save(name: str) -> tuple[Any, Path]:
        if name not in made:
            model = make_model(libraries, CASES[name])
            (folder / name).mkdir()
            model.save(folder / name / name)
            made[name] = (model, folder / name / f"{name}.zip")
        return made[name]

    return save


def make_model(libraries: SimpleNamespace, case: Case) -> Any:
    kind = getattr(libraries.sb3, case.kind, None) or getattr(libraries.contrib, case.kind)
    options = dict(case.options)
    if case.algorithm in ON_POLICY:
        options["n_steps"] = 8
    elif case.algorithm != "ars":
        options["buffer_size"] = 2
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        environment = Idle(case.observes, case.acts)
        told = dict(case.told) or None
        model = kind(case.policy, environment, policy_kwargs=told, seed=0, device="cpu", **options)
        # Fresh policies are nearly constant, and ARS begins at zero.
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in model.policy.parameters():
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    model.policy.set_training_mode(False)
    return model


def sample(space: spaces.Space[Any], rows: int = ROWS, seed: int = 0) -> Any:
    """Rows of observations, as a vector environment gives them."""
    space.seed(seed)
    each = [space.sample() for _ in range(rows)]
    if isinstance(space, spaces.Dict):
        return {key: np.stack([one[key] for one in each]) for key in space.spaces}
    return np.stack(each)


def tensors(observation: Any) -> Any:
    if isinstance(observation, dict):
        return {key: torch.from_numpy(part) for key, part in observation.items()}
    return torch.from_numpy(observation)


def assert_close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE)


def logits_of(distribution: Any) -> torch.Tensor:
    """The logits as SB3's distributions keep them: normalised."""
    parts = distribution.distributions if hasattr(distribution, "distributions") else None
    parts = parts or distribution.distribution
    return torch.cat([part.logits for part in (parts if isinstance(parts, list) else [parts])], 1)


def assert_outputs_of_actor_critic(outputs: Mapping[str, Any], model: Any, seen: Any) -> None:
    distribution = model.policy.get_distribution(seen)
    assert_close(outputs["value"], model.policy.predict_values(seen)[:, 0])
    if "mean" in outputs:
        assert_close(outputs["mean"], distribution.distribution.mean)
        assert_close(outputs["log_std"].exp(), distribution.distribution.stddev)
        return
    theirs = logits_of(distribution)
    counts = {
        spaces.Discrete: lambda space: [int(space.n)],
        spaces.MultiDiscrete: lambda space: [int(n) for n in space.nvec],
        spaces.MultiBinary: lambda space: [2] * space.n,
    }[type(model.action_space)](model.action_space)
    if isinstance(model.action_space, spaces.MultiBinary) and theirs.shape[1] == len(counts):
        assert_close(outputs["logits"], theirs)
        return
    ours = [part.log_softmax(1) for part in outputs["logits"].split(counts, 1)]
    assert_close(torch.cat(ours, 1), theirs)


@pytest.mark.parametrize("name", FEED_FORWARD)
def test_acts_and_answers_as_the_library_does(
    name: str, saved: Callable[[str], tuple[Any, Path]]
) -> None:
    model, path = saved(name)
    agent, observation = open_sb3(path), sample(CASES[name].observes)
    assert agent.algorithm == CASES[name].algorithm
    with torch.no_grad():
        acted = agent.act(tensors(observation), agent.initial_state(ROWS), None)
        expected, _ = model.predict(observation, deterministic=True)
        np.testing.assert_allclose(acted.action, expected, TOLERANCE, TOLERANCE)
        if CASES[name].acts is BOX:
            assert acted.action.dtype == np.float32
        seen, _ = model.policy.obs_to_tensor(observation)
        outputs = acted.outputs
        match agent.algorithm:
            case "sac" | "tqc":
                mean, log_std, kwargs = model.actor.get_action_dist_params(seen)
                assert_close(outputs["mean"], mean)
                if kwargs:
                    dist = model.actor.action_dist.proba_distribution(mean, log_std, **kwargs)
                    log_std = dist.distribution.stddev.log()
                assert_close(outputs["log_std"], log_std)
            case "td3" | "ddpg":
                assert_close(outputs["mean"], model.actor(seen))
            case "dqn":
                assert_close(outputs["values"], model.q_net(seen))
            case "qrdqn":
                assert_close(outputs["quantiles"], model.quantile_net(seen))
                assert_close(outputs["values"], model.quantile_net(seen).mean(1))
            case "ars":
                if "mean" in outputs:
                    assert_close(outputs["mean"], model.policy(seen))
            case _:
                assert_outputs_of_actor_critic(outputs, model, seen)


@pytest.mark.parametrize("name", RECURRENT)
def test_remembers_and_forgets_as_the_library_does(
    name: str, libraries: SimpleNamespace, saved: Callable[[str], tuple[Any, Path]]
) -> None:
    from sb3_contrib.common.recurrent.type_aliases import RNNStates

    model, path = saved(name)
    agent = open_sb3(path)
    state, theirs, both = agent.initial_state(ROWS), None, None
    shape = (model.policy.lstm_hidden_state_shape[0], ROWS, 8)
    both = RNNStates(*(tuple(torch.zeros(shape) for _ in range(2)) for _ in range(2)))
    for step in range(5):
        begun = np.arange(ROWS) % 3 == step % 3 if step else np.ones(ROWS, bool)
        observation = sample(CASES[name].observes, seed=step)
        state = agent.reset_state(state, np.flatnonzero(begun))
        before = {key: part.clone() for key, part in state.items()}
        with torch.no_grad():
            acted = agent.act(tensors(observation), state, None)
            expected, theirs = model.predict(observation, theirs, begun, deterministic=True)
            seen, _ = model.policy.obs_to_tensor(observation)
            starts = torch.from_numpy(begun).float()
            _, values, _, both = model.policy.forward(seen, both, starts, deterministic=True)
        np.testing.assert_allclose(acted.action, expected, TOLERANCE, TOLERANCE)
        assert_close(acted.outputs["value"], values[:, 0])
        assert all(torch.equal(part, before[key]) for key, part in state.items())
        state = acted.state


@pytest.mark.parametrize("name", CASES)
def test_sites_have_the_names_of_the_library(
    name: str, saved: Callable[[str], tuple[Any, Path]]
) -> None:
    model, path = saved(name)
    agent, observation = open_sb3(path), tensors(sample(CASES[name].observes))
    paths = {path for path, _ in agent.module.named_modules()}
    theirs = {
        path
        for path, module in model.policy.named_modules()
        # Recurrent policies of the library keep an extractor that does nothing inside.
        if list(module.parameters(recurse=False))
    }
    assert theirs <= paths
    assert agent.parameters == sum(part.numel() for part in model.policy.parameters())
    if not isinstance(observation, dict):
        assert {str(info.site) for info in list_sites(agent, observation)}


def test_well_known_sites_are_there(saved: Callable[[str], tuple[Any, Path]]) -> None:
    expected = {
        "ppo": ["mlp_extractor.policy_net.0:out", "action_net:out", "value_net:out"],
        "ppo-cnn": ["features_extractor.cnn.0:out", "features_extractor.linear.0:out"],
        "dqn": ["q_net.q_net.0:out", "q_net.q_net.4:out"],
        "qrdqn": ["quantile_net.quantile_net.0:out"],
        "sac": ["actor.latent_pi.0:out", "actor.mu:out", "actor.log_std:out"],
        "td3": ["actor.mu.0:out"],
        "lstm": ["lstm_actor:out.0", "lstm_actor:out.1", "lstm_critic:out.0"],
    }
    for name, sites in expected.items():
        agent = open_sb3(saved(name)[1])
        listed = {
            str(info.site): info
            for info in list_sites(agent, tensors(sample(CASES[name].observes)))
        }
        assert {*sites} <= {*listed}, name
    assert listed["lstm_actor:out.0"].shape == (8,)


def test_policy_value_shared_and_target_are_told_apart(
    saved: Callable[[str], tuple[Any, Path]],
) -> None:
    def networks(name: str, *paths: str) -> list[str]:
        agent = open_sb3(saved(name)[1])
        return [agent.network_of(path) for path in paths]

    assert networks("ppo", "mlp_extractor.policy_net.0", "action_net") == ["policy", "policy"]
    assert networks("ppo", "mlp_extractor.value_net.0", "value_net") == ["value", "value"]
    assert networks("ppo-cnn", "features_extractor.cnn.0") == ["shared"]
    own = networks("ppo-cnn-own", "features_extractor.cnn.0", "vf_features_extractor.cnn.0")
    assert own == ["policy", "value"]
    assert networks("sac", "actor.mu", "critic.qf0.0", "critic_target.qf0.0") == [
        *("policy", "value", "target")
    ]
    assert networks("dqn", "q_net.q_net.0", "q_net_target.q_net.0") == ["policy", "target"]
    assert networks("lstm", "lstm_actor", "lstm_critic") == ["policy", "value"]


def test_statistics_beside_the_zip_are_applied(
    libraries: SimpleNamespace, saved: Callable[[str], tuple[Any, Path]], tmp_path: Path
) -> None:
    for name, keys in (("ppo-box", None), ("ppo-parts", ["arm"])):
        model, path = saved(name)
        copy = tmp_path / name / "agent.zip"
        copy.parent.mkdir()
        copy.write_bytes(path.read_bytes())
        wrapper = make_statistics(libraries, CASES[name], keys)
        wrapper.save(copy.with_name("vecnormalize.pkl"))
        agent, observation = open_sb3(copy), sample(CASES[name].observes)
        expected, _ = model.predict(wrapper.normalize_obs(observation), deterministic=True)
        with torch.no_grad():
            acted = agent.act(tensors(observation), agent.initial_state(ROWS), None)
        np.testing.assert_allclose(acted.action, expected, TOLERANCE, TOLERANCE)
        given = open_sb3(path, normalization=copy.with_name("vecnormalize.pkl"))
        assert given.normalization is not None
        assert open_sb3(path).normalization is None


def make_statistics(libraries: SimpleNamespace, case: Case, keys: list[str] | None) -> Any:
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    rows = DummyVecEnv([lambda: Idle(case.observes, case.acts)])
    wrapper = VecNormalize(rows, norm_obs_keys=keys, clip_obs=1.5)
    random = np.random.default_rng(0)
    running = wrapper.obs_rms.values() if keys else [wrapper.obs_rms]
    for one in running:
        one.mean = random.normal(size=one.mean.shape)
        one.var = random.uniform(0.1, 2, one.var.shape)
    return wrapper


def test_statistics_of_rewards_only_are_none(libraries: SimpleNamespace, tmp_path: Path) -> None:
    wrapper = make_statistics(libraries, CASES["ppo"], None)
    wrapper.norm_obs = False
    wrapper.save(tmp_path / "vecnormalize.pkl")
    assert read_vecnormalize(tmp_path / "vecnormalize.pkl") is None


def test_statistics_of_another_shape_are_refused(
    libraries: SimpleNamespace, saved: Callable[[str], tuple[Any, Path]], tmp_path: Path
) -> None:
    case = Case("PPO", "MlpPolicy", spaces.Box(-1, 1, (7,)), BOX)
    make_statistics(libraries, case, None).save(tmp_path / "vecnormalize.pkl")
    with pytest.raises(InvalidInput, match=r"shape \[7\]"):
        open_sb3(saved("ppo")[1], normalization=tmp_path / "vecnormalize.pkl")


def test_the_remaining_time_is_appended_where_it_lacks(
    saved: Callable[[str], tuple[Any, Path]],
) -> None:
    model, path = saved("ppo-box")
    agent = open_sb3(path)
    agent.bind(spaces.Box(-1, 1, (2,)), BOX, time_limit=10)
    state, elapsed = agent.initial_state(ROWS), np.zeros(ROWS)
    for step in range(4):
        if step == 2:
            state, elapsed[[1, 4]] = agent.reset_state(state, np.array([1, 4])), 0
        short = sample(VECTOR, seed=step)[:, :2]
        whole = np.column_stack([short, (1 - elapsed / 10).astype(np.float32)])
        with torch.no_grad():
            acted = agent.act(tensors(short), state, None)
        expected, _ = model.predict(whole, deterministic=True)
        np.testing.assert_allclose(acted.action, expected, TOLERANCE, TOLERANCE)
        state, elapsed = acted.state, elapsed + 1


def test_bound_to_its_environment_it_keeps_no_time(
    saved: Callable[[str], tuple[Any, Path]],
) -> None:
    agent = open_sb3(saved("ppo-box")[1])
    assert agent.initial_state(2) is not None
    agent.bind(VECTOR, BOX)
    assert agent.initial_state(2) is None


def test_binding_refuses_another_environment(saved: Callable[[str], tuple[Any, Path]]) -> None:
    agent = open_sb3(saved("ppo-box")[1])
    with pytest.raises(InvalidInput, match="observes"):
        agent.bind(spaces.Box(-1, 1, (9,)), BOX)
    with pytest.raises(InvalidInput, match="acts in"):
        agent.bind(VECTOR, spaces.Discrete(3))
    open_sb3(saved("ppo-cnn")[1]).bind(IMAGE, spaces.Discrete(3))
    open_sb3(saved("ppo-parts")[1]).bind(PARTS, BOX)


def test_bounds_come_from_the_environment_where_the_file_leaves_them_out(
    saved: Callable[[str], tuple[Any, Path]],
) -> None:
    model, path = saved("sac")
    agent, observation = open_sb3(path), sample(VECTOR)
    agent.family.space = Box((2,))
    with pytest.raises(InvalidInput, match="bind"):
        agent.act(tensors(observation), None, None)
    agent.bind(VECTOR, BOX)
    expected, _ = model.predict(observation, deterministic=True)
    with torch.no_grad():
        acted = agent.act(tensors(observation), None, None)
    np.testing.assert_allclose(acted.action, expected, TOLERANCE, TOLERANCE)


def noise(rows: int, seed: int = 0) -> AddressedNoise:
    made = AddressedNoise(seed, rows)
    made.begin(np.arange(rows), np.arange(rows))
    return made


def test_samples_follow_the_distribution_of_the_library(
    saved: Callable[[str], tuple[Any, Path]],
) -> None:
    rows = 20_000
    same = np.repeat(sample(VECTOR, 1), rows, 0)
    for name in ("ppo-box", "ppo-sde", "ppo-squashed", "sac", "tqc"):
        agent = open_sb3(saved(name)[1])
        with torch.no_grad():
            acted = agent.act(tensors(same), agent.initial_state(rows), noise(rows))
        mean, std = acted.outputs["mean"], acted.outputs["log_std"].exp()
        wanted = mean + std * torch.randn(mean.shape, generator=torch.Generator().manual_seed(0))
        low, high = torch.from_numpy(BOX.low), torch.from_numpy(BOX.high)
        if agent.family.choices.is_squashed:
            wanted = low + (wanted.tanh() + 1) / 2 * (high - low)
        wanted = wanted.clamp(low, high).numpy()
        # Two empirical distributions of 20,000 differ by less than 0.02 in all but 1 of 1,500.
        for ours, theirs in zip(acted.action.T, wanted.T, strict=True):
            grid = np.linspace(ours.min(), ours.max(), 50)
            gap = np.searchsorted(np.sort(ours), grid) - np.searchsorted(np.sort(theirs), grid)
            assert np.abs(gap).max() / rows < 0.02, name


def test_samples_of_choices_follow_their_probabilities(
    saved: Callable[[str], tuple[Any, Path]],
) -> None:
    rows = 20_000
    for name in ("ppo-multi", "ppo-binary", "maskable-binary"):
        agent = open_sb3(saved(name)[1])
        same = np.repeat(sample(CASES[name].observes, 1), rows, 0)
        with torch.no_grad():
            acted = agent.act(tensors(same), agent.initial_state(rows), noise(rows))
        logits = acted.outputs["logits"][0]
        if name == "ppo-multi":
            parts = [part.softmax(0).numpy() for part in logits.split([2, 3])]
            counted = [np.bincount(column) / rows for column in acted.action.T]
        else:
            parts = [
                logits.sigmoid().numpy()
                if name == "ppo-binary"
                else logits.view(-1, 2).softmax(1)[:, 1].numpy()
            ]
            counted = [acted.action.mean(0)]
        for ours, theirs in zip(counted, parts, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=0.015)


def test_the_algorithm_may_be_given(saved: Callable[[str], tuple[Any, Path]]) -> None:
    assert open_sb3(saved("ppo")[1], algorithm="A2C").algorithm == "a2c"
    assert open_sb3(saved("lstm")[1], algorithm="RecurrentPPO").algorithm == "recurrent_ppo"
    assert open_sb3(saved("qrdqn")[1], algorithm="qr-dqn").algorithm == "qrdqn"
    with pytest.raises(InvalidInput, match="weights of ppo"):
        open_sb3(saved("ppo")[1], algorithm="sac")
    with pytest.raises(UnknownName, match="Did you mean 'ppo'"):
        open_sb3(saved("ppo")[1], algorithm="ppoo")


def test_it_opens_by_name(saved: Callable[[str], tuple[Any, Path]], tmp_path: Path) -> None:
    path = saved("ppo")[1]
    assert open_named(f"ppo:{path}").algorithm == "ppo"
    assert open_named(str(path)).algorithm == "ppo"
    assert open_named(f"trpo:{path.with_suffix('')}").algorithm == "trpo"
    assert is_sb3(path)
    assert not is_sb3(tmp_path / "absent.zip")
    torch.save({}, tmp_path / "model.pt")
    assert not is_sb3(tmp_path / "model.pt")
    with pytest.raises(UnknownName, match=r"no file .*absent\.zip"):
        open_named("ppo:absent.zip")


class OwnExtractor(torch.nn.Module):
    """What a user may write in a notebook."""

    features_dim = 3

    def __init__(self, observation_space: Any) -> None:
        super().__init__()
        self.scale = torch.nn.Linear(3, 3)

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        return self.scale(observation)


def test_a_policy_with_code_of_its_own_needs_trust(
    libraries: SimpleNamespace, tmp_path: Path
) -> None:
    case = Case("PPO", "MlpPolicy", VECTOR, BOX, {"features_extractor_class": OwnExtractor})
    model = make_model(libraries, case)
    model.save(tmp_path / "own.zip")
    with pytest.raises(UntrustedFile, match=r"OwnExtractor.*--trust.*sha256 [0-9a-f]{64}"):
        open_sb3(tmp_path / "own.zip")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        agent = open_sb3(tmp_path / "own.zip", trust=True)
    assert not agent.is_safe
    observation = sample(VECTOR)
    with torch.no_grad():
        acted = agent.act(tensors(observation), agent.initial_state(ROWS), None)
    expected, _ = model.predict(observation, deterministic=True)
    np.testing.assert_allclose(acted.action, expected, TOLERANCE, TOLERANCE)


def test_trust_changes_nothing_where_it_is_not_needed(
    saved: Callable[[str], tuple[Any, Path]],
) -> None:
    assert open_sb3(saved("ppo")[1], trust=True).is_safe


def test_what_is_written_into_the_hidden_state_lasts(
    saved: Callable[[str], tuple[Any, Path]],
) -> None:
    agent, observation = open_sb3(saved("lstm")[1]), tensors(sample(VECTOR))
    state = agent.initial_state(ROWS)
    for address, lasts in (("lstm_actor:out.0", False), ("lstm_actor:out.1", True)):
        site = Site.parse(address)
        hooks = Hooks(agent.module, edits={site: lambda value, read: value + 1})
        with torch.no_grad():
            plain = agent.act(observation, state, None)
            with hooks:
                edited = hooks.run(agent.act, observation, state, None)
        kept = torch.equal(plain.state["actor_hidden"], edited.state["actor_hidden"])
        assert kept is not lasts


class OfSavedModel(AgentContract):
    """The contract, on the agent in the zip of one case."""

    width = 3
    case = ""
    path: Path

    @pytest.fixture(autouse=True)
    def _saved(self, saved: Callable[[str], tuple[Any, Path]]) -> None:
        self.path = saved(self.case)[1]

    def make(self) -> Sb3Agent:
        return open_sb3(self.path)


class OfContinuousModel(OfSavedModel):
    """Continuous actions are rounded as the outputs they come from."""

    def test_rows_are_independent_of_each_other(self) -> None:
        agent = self.make()
        for noisy in (False, True):
            among = self.play(agent, range(self.rows), noisy=noisy)
            for order in ([self.rows - 1], list(reversed(range(self.rows)))):
                for one, other in zip(among, self.play(agent, order, noisy=noisy), strict=True):
                    np.testing.assert_allclose(
                        one.action[order],
                        other.action,
                        self.relative_tolerance,
                        self.absolute_tolerance,
                    )
                    self.assert_outputs_close(one, other, order)


class TestPPO(OfSavedModel):
    case = "ppo"


class TestSquashedPPO(OfContinuousModel):
    case = "ppo-squashed"


class TestSAC(OfContinuousModel):
    case = "sac"


class TestQRDQN(OfSavedModel):
    case = "qrdqn"


class TestRecurrentPPO(OfContinuousModel):
    case = "lstm-box"


class TestImages(OfSavedModel):
    case = "ppo-cnn"
    # Convolutions of one image and of five take different paths.
    relative_tolerance = 1e-4
    absolute_tolerance = 1e-5

    def observations(self, rows: int, seed: int = 0) -> torch.Tensor:
        return torch.from_numpy(sample(IMAGE, rows, seed))


# ── Agents that nobody here trained ──────────────────────────────────────────────────────────────

ZOO = sorted(AGENTS.glob("sb3_zoo/*/*.zip"))
needs_zoo = pytest.mark.skipif(not ZOO, reason=f"there are no agents in {AGENTS}")


@needs_zoo
def test_the_zoo_opens_without_the_library() -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from policyscope.agents.adapters.sb3 import open_sb3\n"
        "for path in sys.argv[1:]: print(open_sb3(Path(path)).parameters)\n"
        "assert 'stable_baselines3' not in sys.modules and 'sb3_contrib' not in sys.modules\n"
    )
    command = [sys.executable, "-W", "error", "-c", script, *map(str, ZOO)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert done.returncode == 0, done.stderr
    known = {one["dir"]: one["n_params"] for one in manifest()}
    counted = [int(line) for line in done.stdout.split()]
    assert counted == [known[f"sb3_zoo/{path.parent.name}"] for path in ZOO]


def manifest() -> list[dict[str, Any]]:
    import json

    entries = json.loads((AGENTS / "MANIFEST.json").read_text())
    return [one for one in entries if one["dir"].startswith("sb3_zoo/")]


@needs_zoo
@pytest.mark.slow
@pytest.mark.parametrize("entry", manifest() if ZOO else [], ids=lambda one: one["dir"][8:])
def test_the_zoo_plays_as_well_as_it_was_measured(entry: dict[str, Any]) -> None:
    rows = entry["episodes"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            each = [gymnasium.make(entry["env_run"]) for _ in range(rows)]
    except gymnasium.error.Error as error:
        pytest.skip(f"{entry['env_run']} is not installed here: {error}")
    agent = open_sb3(AGENTS / entry["dir"] / entry["files"][0])
    agent.bind(each[0].observation_space, each[0].action_space)
    assert isinstance(agent.action_space, Box | Discrete)
    observations = [one.reset(seed=seed)[0] for seed, one in enumerate(each)]
    state, going = agent.initial_state(rows), np.ones(rows, bool)
    returns = np.zeros(rows)
    while going.any():
        with torch.no_grad():
            acted = agent.act(torch.from_numpy(np.stack(observations)), state, None)
        state = acted.state
        for row in np.flatnonzero(going):
            seen, reward, terminated, truncated, _ = each[row].step(acted.action[row])
            observations[row], returns[row] = seen, returns[row] + reward
            going[row] = not (terminated or truncated)
    error = np.sqrt((returns.var(ddof=1) + entry["std"] ** 2) / rows)
    assert abs(returns.mean() - entry["mean_return"]) <= 2 * error + 1e-6
