"""Steering two layers × four features × four strengths × 50 episodes, against the source's loop.

    python -m benchmarks.sweep [--quick]

Both arms play the unedited agent and the 32 settings, 50 episodes each, and say of each its mean
return, its failure modes, and θ(t) and x(t) of its first episode. Ours adds paired differences,
intervals and corrected p values. The source plays one episode after another with a batch of one;
ours plays all 1,650 at once. No random directions, which the source does not have.
"""

import argparse
import itertools

import torch

from benchmarks import source_loop
from benchmarks.arms import Comparison, compare, ratios
from policyscope.address import Site
from policyscope.agents.adapters.torch import TorchAgent
from policyscope.dictionaries.dictionary import Dictionary
from policyscope.dictionaries.fit import fit
from policyscope.dictionaries.relu import ReLU
from policyscope.dictionaries.schedule import Schedule
from policyscope.envs.make import make
from policyscope.envs.metric import find_metrics
from policyscope.experiments.sweep import sweep
from policyscope.rollouts.record import recording_jobs
from policyscope.rollouts.rollout import Plan, rollout
from policyscope.zoo.cartpole import ENVIRONMENT, CartPolePolicy, train

LAYERS = {"layer1": ("fc1:in", "fc2:in"), "layer2": ("fc2:in", "fc3:in")}
ALPHAS = (-2.5, -1.0, 1.0, 2.5)
EPISODES, WIDTH = 50, 4


def compare_sweep(policy: CartPolePolicy, quick: bool) -> Comparison:
    """One rollout against the serial loop; with `quick` the loop plays fewer episodes."""
    agent = TorchAgent(policy)
    dictionaries = fit_layers(agent)
    features = [one[index] for one in dictionaries.values() for index in range(WIDTH)]
    source = source_loop.SourcePolicy(policy.state_dict())
    conditions = [None] + [
        {"layer": layer, "decoder_col": one[index].direction, "scale": alpha}
        for layer, one in dictionaries.items()
        for index, alpha in itertools.product(range(WIDTH), ALPHAS)
    ]
    serial_episodes, rounds = (4, 3) if quick else (EPISODES, 3)

    def ours() -> int:
        return sweep(
            agent,
            lambda rows: make(ENVIRONMENT, rows),
            features,
            ALPHAS,
            seeds=range(EPISODES),
            random=0,
            metrics=find_metrics(ENVIRONMENT, ["cart_position", "pole_angle"]),
        ).steps

    return compare(
        f"sweep {len(conditions)} conditions × {EPISODES} episodes",
        "the source's serial loop",
        "steps",
        100.0,
        ours,
        lambda: source_loop.intervene(source, conditions, serial_episodes)[0],
        rounds,
    )


def fit_layers(agent: TorchAgent) -> dict[str, Dictionary]:
    """A transcoder of both layers, fitted to 20,000 states of the agent."""
    fitted = {}
    sites = tuple(dict.fromkeys(itertools.chain(*LAYERS.values())))
    plan = Plan(reads=tuple(map(Site.parse, sites)), keep=(), max_steps=20_000, block_steps=400)
    block = next(iter(rollout(agent, make(ENVIRONMENT, 50), recording_jobs(0, 0, None), plan)))
    for layer, (reads, writes) in LAYERS.items():
        x, y = (torch.from_numpy(block.columns[site]).flatten(0, 1) for site in (reads, writes))
        dictionary = fit(ReLU(WIDTH), x, y, schedule=Schedule(epochs=5)).dictionary
        dictionary.name = layer
        dictionary.reads, dictionary.writes = Site.parse(reads), Site.parse(writes)
        fitted[layer] = dictionary
    return fitted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(ratios([compare_sweep(train(0).policy, arguments.quick)]))


if __name__ == "__main__":
    main()
