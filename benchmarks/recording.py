"""Recording CartPole with both hidden layers, written to disk, against two other ways.

    python -m benchmarks.recording [--quick]

1. The source's loop, which writes nothing: what a vectorised recorder is worth.
2. The same rollout without reads or writes: what reading and writing cost.

256 rows; sites fc2:in and fc3:in, four metrics, logits, actions, rewards and flags: all that
`policyscope record` keeps by default. The shards are written to the folder for temporary files.
"""

import argparse
import tempfile
from pathlib import Path

import torch

from benchmarks import source_loop
from benchmarks.arms import Comparison, compare, ratios
from policyscope.address import Site
from policyscope.agents.adapters.torch import TorchAgent
from policyscope.envs.make import make
from policyscope.envs.metric import metrics_of
from policyscope.rollouts.record import record_rollout, recording_jobs
from policyscope.rollouts.rollout import Plan, rollout
from policyscope.zoo.cartpole import ENVIRONMENT, CartPolePolicy, train

ROWS = 256
SITES = tuple(map(Site.parse, ("fc2:in", "fc3:in")))


def compare_recording(policy: CartPolePolicy, quick: bool) -> list[Comparison]:
    """Both comparisons."""
    # Many short rounds: now and then the system spends half a second finding room for new files.
    steps, source_steps, rounds = (2**17, 2_000, 7) if quick else (2**18, 6_000, 15)
    agent = TorchAgent(policy)
    source = source_loop.SourcePolicy(policy.state_dict())
    job = f"record both layers to disk, {ROWS} rows"

    def ours() -> int:
        return record_to_disk(agent, steps)

    return [
        compare(
            job,
            "the source's loop, nothing written",
            "steps",
            60.0,
            ours,
            lambda: source_loop.record(source, source_steps),
            rounds,
        ),
        compare(
            job,
            "the same rollout without reads or writes",
            "steps",
            0.5,
            ours,
            lambda: play(agent, steps),
            rounds,
        ),
    ]


def record_to_disk(agent: TorchAgent, steps: int) -> int:
    """A recording as the command makes it, thrown away again."""
    with tempfile.TemporaryDirectory() as folder:
        recording = record_rollout(
            agent,
            lambda rows: make(ENVIRONMENT, rows),
            Path(folder) / "main",
            sites=SITES,
            metrics=metrics_of(ENVIRONMENT),
            steps=steps,
            rows=ROWS,
        )
        return recording.steps


def play(agent: TorchAgent, steps: int) -> int:
    """The same episodes, nothing read, kept or written."""
    plan = Plan(keep=(), max_steps=steps)
    blocks = rollout(agent, make(ENVIRONMENT, ROWS), recording_jobs(0, 0, None), plan)
    return sum(int((block.episode >= 0).sum()) for block in blocks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(ratios(compare_recording(train(0).policy, arguments.quick)))


if __name__ == "__main__":
    main()
