"""Every speed that policyscope promises, measured against what it is promised against.

    python -m benchmarks [--quick]

Prints one table of ratios. The nudge replication is an experiment of its own, not a speed:
`python -m benchmarks.nudge_replication`.
"""

import argparse
import os

# The arithmetic libraries read this once, when they are loaded; the other arm has one thread too.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NO_PROGRESS", "1")

import torch

from benchmarks import family_fit
from benchmarks.arms import Comparison, compare, ratios
from benchmarks.atari import compare_atari
from benchmarks.recording import compare_recording
from benchmarks.sb3 import compare_sb3
from benchmarks.sparse_fit import compare_sparse
from benchmarks.sweep import compare_sweep
from policyscope.zoo.cartpole import train


def compare_family(quick: bool) -> list[Comparison]:
    """The source's six transcoders as one family, and many of each of them."""
    return [
        compare_members(family_fit.SIX, 5 if quick else 50, 5.0),
        compare_members(family_fit.MANY, 1 if quick else 3, 10.0),
    ]


def compare_members(choices: list[family_fit.Choice], epochs: int, target: float) -> Comparison:
    """These transcoders of each layer as a family, against fitting one after another."""
    layers = family_fit.policy_activations()
    return compare(
        f"fit {len(layers) * len(choices)} transcoders, {family_fit.STEPS:,} samples × {epochs}",
        "a plain loop with index batches",
        "fits",
        target,
        lambda: len(family_fit.families(layers, choices, epochs)),
        lambda: len(family_fit.plain_loop(layers, choices, epochs, fused=False)),
        3,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="shorter arms, a few minutes")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    policy = train(0).policy
    done: list[Comparison] = []
    for part in (
        lambda: compare_recording(policy, quick),
        lambda: [compare_sweep(policy, quick)],
        lambda: compare_family(quick),
        lambda: compare_sparse(quick),
        lambda: compare_atari(quick),
        lambda: compare_sb3(quick),
    ):
        for one in part():
            print(f"{one.job}, against {one.against}: {one.cpu.median:.3g}×", flush=True)
            done.append(one)
    print()
    print(ratios(done))


if __name__ == "__main__":
    main()
