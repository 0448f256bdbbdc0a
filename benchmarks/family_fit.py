"""Fitting the six transcoders of the source: one batched family against a plain loop.

    python benchmarks/family_fit.py [--epochs 50] [--repeats 5]

The source's job: layer 1 (4 → k → 128) and layer 2 (128 → k → 64) with k = 2, 4, 8 on 20,000
steps, batch 256, Adam 1e-3. The plain loop fits one transcoder after another with nn.Module,
autograd and batches cut from a shuffled index; it has no DataLoader, which would cost it three
times more. Second line: the same six, times 8 seeds, times 4 penalties, all 192 of them fitted by
all arms, in a tenth of the epochs. CPU seconds of one thread, arms alternating, medians of the
ratios within a round.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from policyscope.dictionaries.family import fit_family
from policyscope.dictionaries.relu import ReLU
from policyscope.dictionaries.schedule import Schedule
from policyscope.table import Column, Table

STEPS, BATCH, RATE = 20_000, 256, 1e-3
WIDTHS, PENALTY, PENALTIES = (2, 4, 8), 1e-5, (1e-6, 1e-5, 1e-4, 1e-3)
Layers = list[tuple[Tensor, Tensor]]
Models = list[tuple[nn.Module, Tensor, Tensor]]
Choice = tuple[int, float, int]
# For each of the two layers.
SIX: list[Choice] = list(itertools.product(WIDTHS, [PENALTY], [0]))
MANY: list[Choice] = list(itertools.product(WIDTHS, PENALTIES, range(8)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    layers = policy_activations()
    few_epochs = max(1, arguments.epochs // 10)
    rows = [
        compare(layers, SIX, arguments.epochs, arguments.repeats),
        compare(layers, MANY, few_epochs, max(1, arguments.repeats // 2)),
    ]
    columns = (
        Column("members"),
        Column("epochs"),
        Column("plain loop (CPU s)", ".2f"),
        Column("plain loop, fused Adam (CPU s)", ".2f"),
        Column("family (CPU s)", ".2f"),
        Column("× plain", ".1f"),
        Column("× fused", ".1f"),
        Column("largest Δ unexplained", ".1e"),
    )
    print(Table("Fitting a family of transcoders", columns, tuple(rows)))


def compare(layers: Layers, choices: list[Choice], epochs: int, repeats: int) -> tuple:
    """One row of the table: the arms in turn, `repeats` times over."""
    rounds, differences = [], []
    for _ in range(repeats):
        plain, expected = timed(lambda: plain_loop(layers, choices, epochs, fused=False))
        fused, _ = timed(lambda: plain_loop(layers, choices, epochs, fused=True))
        family, found = timed(lambda: families(layers, choices, epochs))
        rounds.append((plain, fused, family, plain / family, fused / family))
        differences += [abs(a - b) for a, b in zip(expected, found, strict=True)]
    medians = [statistics.median(column) for column in zip(*rounds, strict=True)]
    return (len(layers) * len(choices), epochs, *medians, max(differences))


def timed(work: Callable[[], Models]) -> tuple[float, list[float]]:
    """CPU seconds of `work`, and the unexplained variance of every model it fitted."""
    start = time.process_time()
    models = work()
    return time.process_time() - start, [unexplained(*model) for model in models]


def families(layers: Layers, choices: list[Choice], epochs: int) -> Models:
    """Every member, each layer fitted as one family."""
    members = [ReLU(width, penalty) for width, penalty, _ in choices]
    seeds = [seed for *_, seed in choices]
    return [
        (fitted.dictionary, x, y)
        for x, y in layers
        for fitted in fit_family(members, x, y, seeds=seeds, schedule=Schedule(epochs, BATCH, RATE))
    ]


def plain_loop(layers: Layers, choices: list[Choice], epochs: int, fused: bool) -> Models:
    """Every transcoder, fitted one after another."""
    return [
        (plain_fit(x, y, *choice, epochs, fused), x, y) for x, y in layers for choice in choices
    ]


def plain_fit(
    x: Tensor, y: Tensor, width: int, penalty: float, seed: int, epochs: int, fused: bool
) -> nn.Module:
    """The loop one writes by hand."""
    torch.manual_seed(seed)
    encoder = nn.Sequential(nn.Linear(x.shape[1], width), nn.ReLU())
    decoder = nn.Linear(width, y.shape[1])
    model = nn.Sequential(encoder, decoder)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, fused=fused)
    generator = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=generator).split(BATCH):
            codes = encoder(x[rows])
            error = (decoder(codes) - y[rows]).square().sum(1).mean()
            loss = error + penalty * codes.abs().sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model


@torch.no_grad()
def unexplained(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of the variance of y that the model leaves unexplained."""
    return float((model(x) - y).square().sum() / (y - y.mean(0)).square().sum())


def policy_activations() -> Layers:
    """(z, relu) pairs of both hidden layers of a random 4-128-64 policy on noisy states."""
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(STEPS, 4, generator=generator)
    first = torch.randn(4, 128, generator=generator) / 2
    second = torch.randn(128, 64, generator=generator) / 128**0.5
    hidden = (states @ first).relu()
    return [(states, hidden), (hidden, (hidden @ second).relu())]


if __name__ == "__main__":
    main()
