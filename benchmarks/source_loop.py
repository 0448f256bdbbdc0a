"""The loop of the source: one environment, one observation at a time, and nothing shared.

"Interpretable RL via Multiscale Transcoders" records and intervenes like this: a batch of one
through torch, an action sampled from Categorical, forward hooks that append what they see to
lists, and a decoder column added to a hidden activation inside the policy's own forward.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical
from torch.nn import functional as F

ANGLE_LIMIT, POSITION_LIMIT = 0.209, 2.4


class SourcePolicy(nn.Module):
    """The source's policy with its intervention; the weights are those of the zoo's."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.fc1 = nn.Linear(4, 128)
        self.fc2 = nn.Linear(128, 64)
        self.fc3 = nn.Linear(64, 2)
        self.load_state_dict(weights)

    def forward(self, x: Tensor, intervene_on: dict[str, Any] | None = None) -> Tensor:
        h1 = F.relu(self.fc1(x))
        if intervene_on is not None and intervene_on["layer"] == "layer1":
            h1 = h1 + intervene_on["decoder_col"].view(1, -1) * intervene_on["scale"]
        h2 = F.relu(self.fc2(h1))
        if intervene_on is not None and intervene_on["layer"] == "layer2":
            h2 = h2 + intervene_on["decoder_col"].view(1, -1) * intervene_on["scale"]
        return self.fc3(h2)


@dataclass
class Lists:
    """What the hooks of the source append to."""

    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    states: list[np.ndarray] = field(default_factory=list)


@contextmanager
def recording_hooks(policy: SourcePolicy, state: dict[str, np.ndarray]) -> Iterator[list[Lists]]:
    """Appends input, output and state of both hidden layers, as long as the `with` lasts."""
    layers, handles = [], []
    for module in (policy.fc1, policy.fc2):
        lists = Lists()

        def hook(
            module: nn.Module, given: tuple[Tensor], output: Tensor, to: Lists = lists
        ) -> None:
            to.inputs.append(given[0].detach().cpu().squeeze(0))
            to.outputs.append(output.detach().cpu().squeeze(0))
            to.states.append(state["value"].copy())

        handles.append(module.register_forward_hook(hook))
        layers.append(lists)
    try:
        yield layers
    finally:
        for handle in handles:
            handle.remove()


def record(policy: SourcePolicy, steps: int) -> int:
    """Acts until the lists hold `steps` states of each layer, and returns how many they hold."""
    environment = gymnasium.make("CartPole-v1")
    current: dict[str, np.ndarray] = {}
    with recording_hooks(policy, current) as layers:
        while len(layers[0].states) < steps:
            observation, _ = environment.reset()
            is_over = False
            while not is_over:
                current["value"] = observation
                action = choose(policy, observation, None)
                observation, _, terminated, truncated, _ = environment.step(action)
                is_over = terminated or truncated
    environment.close()
    return len(layers[0].states)


def intervene(
    policy: SourcePolicy, conditions: list[dict[str, Any] | None], episodes: int
) -> tuple[int, list[dict[str, Any]]]:
    """Plays every condition, one episode after another; how many steps that took, and its table."""
    environment = gymnasium.make("CartPole-v1")
    steps, rows = 0, []
    for condition in conditions:
        returns, endings, first = [], dict.fromkeys(("left", "right", "cart_out", "none"), 0), []
        for episode in range(episodes):
            observation, _ = environment.reset()
            total, is_over, truncated = 0.0, False, False
            while not is_over:
                if episode == 0:
                    first.append((observation[2], observation[0]))
                action = choose(policy, observation, condition)
                observation, reward, terminated, truncated, _ = environment.step(action)
                total += float(reward)
                is_over = terminated or truncated
                steps += 1
            returns.append(total)
            endings[ending(observation, truncated)] += 1
        rows.append({"return": float(np.mean(returns)), "first": first, **endings})
    environment.close()
    return steps, rows


def choose(policy: SourcePolicy, observation: np.ndarray, condition: dict[str, Any] | None) -> int:
    """An action sampled for one observation."""
    with torch.no_grad():
        logits = policy(torch.from_numpy(observation).unsqueeze(0), condition)
        return int(Categorical(logits=logits).sample().item())


def ending(observation: np.ndarray, truncated: bool) -> str:
    """The source's failure modes, under the source's names."""
    if truncated:
        return "none"
    if observation[2] >= ANGLE_LIMIT:
        return "left"
    if observation[2] <= -ANGLE_LIMIT:
        return "right"
    return "cart_out" if abs(observation[0]) > POSITION_LIMIT else "none"
