"""Recording Stable-Baselines3's MLP agents with two layers, against SB3 playing them.

    python -m benchmarks.sb3 [--quick]

Theirs is `model.predict` in SB3's own DummyVecEnv, with VecNormalize where the agent has it, and
nothing is kept. Ours reads the last hidden layer's input and output in as many rows, and writes
them to disk with observations, actions, outputs (logits or means, and values), rewards and flags;
metrics are left out. The agents are those of $POLICYSCOPE_AGENTS or `../shared/agents`.
"""

import argparse
import io
import os
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NO_PROGRESS", "1")

import gymnasium
import torch
from torch import nn

from benchmarks.arms import Comparison, compare, ratios
from policyscope.address import Site
from policyscope.agents.agent import Agent
from policyscope.agents.loading import open_agent
from policyscope.agents.normalization import Normalization, Statistics, read_vecnormalize
from policyscope.envs.make import make
from policyscope.rollouts.record import record_rollout

FOLDER = Path(
    os.environ.get("POLICYSCOPE_AGENTS", Path(__file__).resolve().parents[2] / "shared" / "agents")
)
ROWS = 16


@dataclass(frozen=True)
class Entry:
    """One agent of the folder: its algorithm, where it acts today, and two of its sites."""

    folder: str
    algorithm: str
    environment: str
    sites: tuple[str, str]
    widths: tuple[int, ...]
    activation: type[nn.Module]
    steps: int

    @property
    def checkpoint(self) -> Path:
        """The zip."""
        return next((FOLDER / "sb3_zoo" / self.folder).glob("*.zip"))


ACTOR = ("mlp_extractor.policy_net.2:in", "action_net:in")
VALUES = ("q_net.q_net.2:in", "q_net.q_net.4:in")
ENTRIES = (
    Entry("ppo_CartPole-v1", "PPO", "CartPole-v1", ACTOR, (64, 64), nn.Tanh, 64_000),
    Entry("dqn_LunarLander-v2", "DQN", "LunarLander-v3", VALUES, (256, 256), nn.ReLU, 32_000),
    Entry("ppo_HalfCheetah-v3", "PPO", "HalfCheetah-v5", ACTOR, (256, 256), nn.ReLU, 32_000),
)


def compare_sb3(quick: bool) -> list[Comparison]:
    """One comparison per agent; none, with the reason on stderr, where something is missing."""
    try:
        import stable_baselines3
    except ImportError:
        print("SB3's agents skipped: stable_baselines3 is not installed.", file=sys.stderr)
        return []
    if not (FOLDER / "sb3_zoo").exists():
        print(f"SB3's agents skipped: there is no {FOLDER / 'sb3_zoo'}.", file=sys.stderr)
        return []
    return [compare_agent(stable_baselines3, entry, quick) for entry in ENTRIES]


def compare_agent(library: Any, entry: Entry, quick: bool) -> Comparison:
    """Records one agent, and has SB3 play it."""
    steps, rounds = (entry.steps // 4, 5) if quick else (entry.steps, 7)
    agent = open_agent(str(entry.checkpoint))
    return compare(
        f"record two layers of {entry.algorithm} on {entry.environment} to disk, {ROWS} rows",
        "SB3's predict in its DummyVecEnv, nothing recorded",
        "steps",
        1.0,
        lambda: record_to_disk(agent, entry, steps),
        player(library, entry, steps),
        rounds,
    )


def record_to_disk(agent: Agent, entry: Entry, steps: int) -> int:
    """A recording as the command makes it, thrown away again."""
    with tempfile.TemporaryDirectory() as folder:
        recording = record_rollout(
            agent,
            lambda rows: make(entry.environment, rows),
            Path(folder) / "main",
            sites=tuple(map(Site.parse, entry.sites)),
            steps=steps,
            rows=ROWS,
        )
        return recording.steps


def player(library: Any, entry: Entry, steps: int) -> Callable[[], int]:
    """What plays the agent as SB3's documentation does: reset, predict, step."""
    from stable_baselines3.common.vec_env import DummyVecEnv

    model = load(library, entry)
    statistics = entry.checkpoint.with_name("vecnormalize.pkl")
    normalization = read_vecnormalize(statistics) if statistics.exists() else None
    # DQN's other way to act is at random now and then, which is no part of the agent.
    is_deterministic = entry.algorithm == "DQN"

    def play() -> int:
        # Without the drawing and monitoring that make_vec_env adds.
        environment = DummyVecEnv([lambda: gymnasium.make(entry.environment)] * ROWS)
        environment.seed(0)
        if normalization is not None:
            environment = normalized(environment, normalization)
        observation = environment.reset()
        for _ in range(steps // ROWS):
            action, _ = model.predict(observation, deterministic=is_deterministic)
            observation, _, _, _ = environment.step(action)
        environment.close()
        return steps // ROWS * ROWS

    return play


def load(library: Any, entry: Entry) -> Any:
    """SB3's own model with the weights of the zip, of which nothing is unpickled."""
    model = getattr(library, entry.algorithm)(
        "MlpPolicy",
        gymnasium.make(entry.environment),
        policy_kwargs={"net_arch": list(entry.widths), "activation_fn": entry.activation},
        device="cpu",
        **({"buffer_size": 1} if entry.algorithm == "DQN" else {}),
    )
    with zipfile.ZipFile(entry.checkpoint) as archive:
        weights = io.BytesIO(archive.read("policy.pth"))
    model.policy.load_state_dict(torch.load(weights, weights_only=True, map_location="cpu"))
    return model


def normalized(environment: Any, normalization: Normalization) -> Any:
    """The environment in SB3's VecNormalize with these statistics."""
    from stable_baselines3.common.vec_env import VecNormalize

    statistics = normalization.statistics
    assert isinstance(statistics, Statistics)
    wrapped = VecNormalize(environment, training=False, norm_reward=False)
    wrapped.clip_obs, wrapped.epsilon = normalization.clip, normalization.epsilon
    wrapped.obs_rms.mean = statistics.mean.numpy()
    wrapped.obs_rms.var = statistics.variance.numpy()
    return wrapped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="shorter arms")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    print(ratios(compare_sb3(quick)))


if __name__ == "__main__":
    main()
