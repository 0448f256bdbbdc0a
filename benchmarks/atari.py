"""Recording Ms. Pacman with its last hidden layer and a convolution, against two other ways.

    python -m benchmarks.atari [--quick]

1. The same rows and network without reads or writes: what reading and writing cost.
2. One environment at a time, hooks that append to lists, nothing written: what rows are worth.
   It plays in the same C++ as the rows do, which flatters it: with Gymnasium's own wrappers the
   preprocessing would be Python's.

A Nature CNN (Mnih et al. 2015, doi 10.1038/nature14236) with random weights: what it does in the
game is worth nothing, what it costs is what a trained one costs. Observations (84 × 84 × 4 bytes a
step), actions, logits, rewards and flags are written too, as `policyscope record` does.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.distributions import Categorical

from benchmarks.arms import Comparison, compare, ratios
from policyscope.address import Site
from policyscope.agents.adapters.torch import TorchAgent
from policyscope.envs.atari import Atari
from policyscope.envs.make import make
from policyscope.rollouts.record import record_rollout, recording_jobs
from policyscope.rollouts.rollout import Plan, rollout

ENVIRONMENT = "MsPacmanNoFrameskip-v4"
ACTIONS = 9
ROWS = 32
CONV, HIDDEN = "features.4", "hidden.1"
SITES = (Site.parse(f"{CONV}:out"), Site.parse(f"{HIDDEN}:out"))


class NatureCNN(nn.Module):
    """Three convolutions and one hidden layer of 512, on four grey frames."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(4, 32, 8, stride=4),
            nn.ReLU(),
            nn.Conv2d(32, 64, 4, stride=2),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3),
            nn.ReLU(),
        )
        self.hidden = nn.Sequential(nn.Flatten(), nn.Linear(64 * 7 * 7, 512), nn.ReLU())
        self.head = nn.Linear(512, ACTIONS)

    def forward(self, frames: UInt8[Tensor, "row 4 84 84"]) -> Float[Tensor, "row action"]:
        """Logits of the actions."""
        return self.head(self.hidden(self.features(frames.float() / 255)))


def compare_atari(quick: bool) -> list[Comparison]:
    """Both comparisons."""
    steps, one_by_one, rounds = (4096, 512, 3) if quick else (16_384, 4096, 3)
    torch.manual_seed(0)
    network = NatureCNN().eval()
    agent = TorchAgent(network)
    environment = Lent(ENVIRONMENT, ROWS)
    job = f"record Ms. Pacman's last hidden layer and a convolution to disk, {ROWS} rows"

    def ours() -> int:
        return record_to_disk(agent, environment, steps)

    return [
        compare(
            job,
            "the same rollout without reads or writes",
            "steps",
            0.7,
            ours,
            lambda: play(agent, environment, steps),
            rounds,
        ),
        compare(
            job,
            "one environment at a time, lists",
            "steps",
            3.0,
            ours,
            lambda: append_to_lists(network, one_by_one),
            rounds,
        ),
    ]


class Lent(Atari):
    """Rows that several rollouts use: switching 32 consoles on takes seconds."""

    def close(self) -> None:
        """Whoever made it keeps it."""


def record_to_disk(agent: TorchAgent, environment: Atari, steps: int) -> int:
    """A recording, thrown away again."""
    with tempfile.TemporaryDirectory() as folder:
        recording = record_rollout(
            agent,
            lambda rows: environment,
            Path(folder) / "main",
            sites=SITES,
            steps=steps,
            rows=ROWS,
        )
        return recording.steps


def play(agent: TorchAgent, environment: Atari, steps: int) -> int:
    """The same episodes, nothing read, kept or written."""
    plan = Plan(keep=(), max_steps=steps)
    blocks = rollout(agent, environment, recording_jobs(0, 0, None), plan)
    return sum(int((block.episode >= 0).sum()) for block in blocks)


def append_to_lists(network: NatureCNN, steps: int) -> int:
    """One game, one observation at a time; hooks append what they see."""
    environment = make(ENVIRONMENT, 1)
    environment.reset(np.arange(1), [0])
    seen: list[np.ndarray] = []
    heard: dict[str, list[Tensor]] = {CONV: [], HIDDEN: []}
    handles = [
        network.get_submodule(path).register_forward_hook(
            lambda module, given, output, to=to: to.append(output.detach().squeeze(0).clone())
        )
        for path, to in heard.items()
    ]
    for step in range(steps):
        observation = np.array(environment.observation)
        seen.append(observation)
        with torch.no_grad():
            logits = network(torch.from_numpy(observation))
        action = Categorical(logits=logits).sample().numpy()
        transition = environment.step(action)
        if transition.terminated[0] or transition.truncated[0]:
            environment.reset(np.arange(1), [step + 1])
    for handle in handles:
        handle.remove()
    environment.close()
    return len(heard[CONV])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(ratios(compare_atari(arguments.quick)))


if __name__ == "__main__":
    main()
