"""An agent and a metric of your own: what does a hand-written MountainCar policy represent?

Run: python examples/own_environment_and_metric.py
"""

import tempfile

import numpy as np
import torch
from torch import Tensor, nn

import policyscope as ps


class PushAlong(nn.Module):
    """Pushes in the direction of motion, through one hidden layer of random features."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc1 = nn.Linear(2, 16)
        self.fc2 = nn.Linear(18, 3)
        nn.init.zeros_(self.fc2.weight)
        with torch.no_grad():
            self.fc2.weight[0, 17], self.fc2.weight[2, 17] = -500.0, 500.0

    def forward(self, observation: Tensor) -> Tensor:
        hidden = torch.relu(self.fc1(observation))
        return self.fc2(torch.cat([hidden, observation], dim=1))


@ps.metric(unit="1", environments=("MountainCar-v0",), words=ps.Words("low", "high", 0.5))
def height(step: ps.Step) -> np.ndarray:
    """How high the car is, from 0 to 1."""
    return 0.45 * np.sin(3 * step.observation[:, 0]) + 0.55


@ps.metric(
    unit="1/step", environments=("MountainCar-v0",), words=ps.Words("rolling left", "rolling right")
)
def velocity(step: ps.Step) -> np.ndarray:
    """How fast it moves to the right."""
    return step.observation[:, 1]


study = ps.Study.create(
    tempfile.mkdtemp() + "/study", agent=ps.TorchAgent(PushAlong()), env="MountainCar-v0"
)
print(study.evaluate(episodes=8))
study.record(sites=["fc2:in"], metrics=[height, velocity], episodes=24, rows=8)
codes = study.fit(ps.ReLU(width=4), reads="fc2:in", writes="fc2:in", name="hidden/sae4", seeds=4)
print(study.features(codes))
