"""Recording Ms. Pacman with its last hidden layer and a convolution, against two other ways.

    python -m benchmarks.atari [--quick]

1. The same rows and network without reads or writes: what reading and writing cost.
2. One environment at a time, as most people write it: Gymnasium's AtariPreprocessing and frame
   stack, a forward of one observation, hooks that append to lists, arrays saved at the end.

Both arms keep the same things, which are those of `policyscope record`: observations (84 × 84 × 4
bytes a step), actions, logits, rewards, flags, both activations, and the console's memory, of which
ours makes metrics at each step and the lists at the end. Both skip four frames, pool the last two,
and begin after up to 30 frames of doing nothing; actions do not stick. The last row of the second
table is what no recorder can save: the emulator alone, one frame after another.

A Nature CNN (Mnih et al. 2015, doi 10.1038/nature14236) with random weights: what it does in the
game is worth nothing, what it costs is what a trained one costs.
"""

import argparse
import importlib.util
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import ale_py
import gymnasium
import numpy as np
import torch
from ale_py.roms import get_rom_path
from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.distributions import Categorical

from benchmarks.arms import Comparison, compare, rates, ratios
from policyscope.address import Site
from policyscope.agents.adapters.torch import TorchAgent
from policyscope.envs.emulator import Emulators
from policyscope.envs.metric import metrics_of
from policyscope.envs.metrics.atari import LABELS
from policyscope.rollouts.record import record_rollout, recording_jobs
from policyscope.rollouts.rollout import Plan, rollout
from policyscope.table import Column, Table

ENVIRONMENT = "MsPacmanNoFrameskip-v4"
GAME = "ms_pacman"
ACTIONS = 9
ROWS = 32
CONV, HIDDEN = "features.4", "hidden.1"
SITES = (Site.parse(f"{CONV}:out"), Site.parse(f"{HIDDEN}:out"))

Frames = UInt8[np.ndarray, "row 4 84 84"]


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


class Lent(Emulators):
    """Rows that several rollouts use: switching 32 consoles on takes seconds."""

    def close(self) -> None:
        """Whoever made it keeps it."""


def compare_atari(quick: bool) -> list[Comparison]:
    """Both comparisons; only the first where OpenCV, which the other arm needs, is absent."""
    steps, one_by_one, rounds = (4096, 512, 3) if quick else (16_384, 4096, 3)
    torch.manual_seed(0)
    network = NatureCNN().eval()
    agent = TorchAgent(network)
    rows = Lent(ENVIRONMENT, ROWS)
    job = f"record Ms. Pacman's last hidden layer and a convolution to disk, {ROWS} rows"

    def ours() -> int:
        return record_to_disk(agent, rows, steps)

    def silent() -> int:
        return play(agent, rows, steps)

    against = "the same rollout without reads or writes"
    done = [compare(job, against, "steps", 0.7, ours, silent, rounds)]
    if importlib.util.find_spec("cv2") is None:
        print("Gymnasium's AtariPreprocessing needs opencv-python-headless: one comparison is left")
        return done
    alone = make_alone()

    def lists() -> int:
        return append_to_lists(network, alone, one_by_one)

    against = "one environment at a time, lists"
    return [*done, compare(job, against, "steps", 3.0, ours, lists, rounds)]


def record_to_disk(agent: TorchAgent, environment: Emulators, steps: int) -> int:
    """A recording, thrown away again."""
    with tempfile.TemporaryDirectory() as folder:
        recording = record_rollout(
            agent,
            lambda rows: environment,
            Path(folder) / "main",
            sites=SITES,
            metrics=metrics_of(ENVIRONMENT),
            steps=steps,
            rows=ROWS,
        )
        return recording.steps


def play(agent: TorchAgent, environment: Emulators, steps: int) -> int:
    """The same episodes, nothing read, kept or written."""
    plan = Plan(keep=(), max_steps=steps)
    blocks = rollout(agent, environment, recording_jobs(0, 0, None), plan)
    return sum(int((block.episode >= 0).sum()) for block in blocks)


def make_alone() -> gymnasium.Env:
    """One game, as Gymnasium's documentation makes it."""
    return FrameStackObservation(AtariPreprocessing(gymnasium.make(ENVIRONMENT)), 4)


def append_to_lists(network: NatureCNN, environment: gymnasium.Env, steps: int) -> int:
    """One game, one observation at a time; hooks append what they see."""
    names = ("observation", "memory", "logits", "action", "reward", "terminated", "truncated")
    kept: dict[str, list] = {name: [] for name in (*names, CONV, HIDDEN)}
    handles = [
        network.get_submodule(path).register_forward_hook(
            lambda module, given, output, to=kept[path]: to.append(output[0].numpy().copy())
        )
        for path in (CONV, HIDDEN)
    ]
    observation, _ = environment.reset()
    for _ in range(steps):
        kept["observation"].append(observation)
        kept["memory"].append(environment.unwrapped.ale.getRAM())
        with torch.no_grad():
            logits = network(torch.from_numpy(observation)[None])
        action = Categorical(logits=logits).sample().item()
        observation, reward, terminated, truncated, _ = environment.step(action)
        answer = (logits[0].numpy(), action, reward, terminated, truncated)
        for name, value in zip(names[2:], answer, strict=True):
            kept[name].append(value)
        if terminated or truncated:
            observation, _ = environment.reset()
    for handle in handles:
        handle.remove()
    save_lists(kept)
    return steps


def save_lists(kept: dict[str, list]) -> None:
    """Every list as an array on disk, the memory as what it means; thrown away again."""
    columns = {name: np.stack(values) for name, values in kept.items()}
    memory = columns.pop("memory").astype(np.int64)
    columns |= {label.name: label.read(memory) for label in LABELS[GAME]}
    with tempfile.TemporaryDirectory() as folder:
        for name, values in columns.items():
            np.save(Path(folder) / f"{name}.npy", values)


def table_of_parts(quick: bool) -> Table:
    """What each part of a step costs when nothing else is done, rows together and one alone."""
    rounds = 3 if quick else 5
    torch.manual_seed(0)
    network = NatureCNN().eval()
    agent = TorchAgent(network)
    rows = Lent(ENVIRONMENT, ROWS)
    rows.reset(np.arange(ROWS), list(range(ROWS)))
    parts: dict[str, Callable[[], int]] = {
        f"ours: everything, {ROWS} rows": lambda: record_to_disk(agent, rows, 2048),
        "ours: without reads or writes": lambda: play(agent, rows, 2048),
        "ours: emulators and preprocessing": lambda: step_rows(rows, 64),
        "ours: network": lambda: forward(network, ROWS, 32),
    }
    if importlib.util.find_spec("cv2") is not None:
        alone = make_alone()
        parts |= {
            "one at a time: everything": lambda: append_to_lists(network, alone, 512),
            "one at a time: environment": lambda: step_alone(alone, 512),
            "one at a time: network": lambda: forward(network, 1, 256),
        }
    console = ale_py.ALEInterface()
    console.loadROM(get_rom_path(GAME))
    parts["the emulator's four frames, nothing else"] = lambda: emulate(console, 1024)
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in parts}
    for _ in range(rounds):
        for name, part in parts.items():
            measured[name].append(rates(part))
    return Table(
        "Where a step's time goes",
        (Column("what", side="left"), Column("CPU µs", ".0f"), Column("µs by the clock", ".0f")),
        tuple(
            (name, *(1e6 / statistics.median(rate) for rate in zip(*of_part, strict=True)))
            for name, of_part in measured.items()
        ),
    )


def step_rows(rows: Emulators, steps: int) -> int:
    """All rows act at random."""
    generator = np.random.default_rng(0)
    for _ in range(steps):
        transition = rows.step(generator.integers(0, ACTIONS, ROWS))
        over = np.flatnonzero(transition.terminated | transition.truncated)
        rows.reset(over, over.tolist())
    return steps * ROWS


def step_alone(environment: gymnasium.Env, steps: int) -> int:
    """One game is acted in at random."""
    generator = np.random.default_rng(0)
    environment.reset()
    for _ in range(steps):
        _, _, terminated, truncated, _ = environment.step(generator.integers(0, ACTIONS))
        if terminated or truncated:
            environment.reset()
    return steps


def forward(network: NatureCNN, rows: int, steps: int) -> int:
    """The network alone."""
    frames = torch.randint(0, 256, (rows, 4, 84, 84), dtype=torch.uint8)
    with torch.no_grad():
        for _ in range(steps):
            network(frames)
    return rows * steps


def emulate(console: ale_py.ALEInterface, steps: int) -> int:
    """Four frames of an emulator for every step; its screen is not looked at."""
    for step in range(steps):
        for _ in range(4):
            console.act(step // 8 % ACTIONS)
        if console.game_over():
            console.reset_game()
    return steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(table_of_parts(arguments.quick))
    print(ratios(compare_atari(arguments.quick)))


if __name__ == "__main__":
    main()
