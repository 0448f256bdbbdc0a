"""Continuous PPO actors of DRL-Pytorch, which act between 0 and 1 and are stretched afterwards.

Source: github.com/XinJingHao/DRL-Pytorch (MIT), "3.2 PPO-Continuous". Its other agents (TD3, DDPG,
DQN and dueling DDQN, SAC) are plain networks and need nothing here: see `feedforward`.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Num
from torch import Tensor, nn

from policyscope.agents.actions import draw
from policyscope.agents.adapters.feedforward import CONTINUOUS
from policyscope.agents.agent import Acted
from policyscope.agents.noise import Noise
from policyscope.agents.rebuilt import REBUILT, RebuiltAgent, Shapes, flat, has_keys

KINDS = {"alpha_head": "beta", "sigma_head": "wide", "action_log_std": "fixed"}
"""What only this kind of actor has -> its name: Beta, Gaussian, Gaussian of one width."""


class UnitActor(nn.Module):
    """Two hidden layers and the heads of a Beta or normal distribution."""

    def __init__(self, kind: str, inputs: int, hidden: int, actions: int) -> None:
        super().__init__()
        self.kind = kind
        self.l1 = nn.Linear(inputs, hidden)
        self.l2 = nn.Linear(hidden, hidden)
        if kind == "beta":
            self.alpha_head = nn.Linear(hidden, actions)
            self.beta_head = nn.Linear(hidden, actions)
        else:
            self.mu_head = nn.Linear(hidden, actions)
        if kind == "wide":
            self.sigma_head = nn.Linear(hidden, actions)
        if kind == "fixed":
            self.action_log_std = nn.Parameter(torch.zeros(1, actions))

    def forward(
        self, observation: Float[Tensor, "row feature"]
    ) -> tuple[Float[Tensor, "row action"], Float[Tensor, "row action"]]:
        """Alpha and beta of a Beta distribution, or mean and log of the width of a normal one."""
        bend = torch.relu if self.kind == "fixed" else torch.tanh
        hidden = bend(self.l2(bend(self.l1(observation))))
        if self.kind == "beta":
            return F.softplus(self.alpha_head(hidden)) + 1, F.softplus(self.beta_head(hidden)) + 1
        mean = torch.sigmoid(self.mu_head(hidden))
        if self.kind == "wide":
            return mean, F.softplus(self.sigma_head(hidden)).log()
        return mean, self.action_log_std.expand_as(mean)


@REBUILT.register("drl-pytorch-ppo")
class UnitPPO(RebuiltAgent):
    """A continuous PPO actor of DRL-Pytorch; actions go from 0…1 to -max_action…max_action."""

    algorithm = "PPO"

    def __init__(
        self, kind: str, inputs: int, hidden: int, actions: int, max_action: float | None = None
    ) -> None:
        self.module = UnitActor(kind, inputs, hidden, actions).eval()
        self.is_bounded = max_action is not None
        self.max_action: float | Tensor = max_action or CONTINUOUS.get((inputs, actions), 1.0)
        if max_action is None:
            self.assumed = (
                f"Largest action {self.max_action:g}, unless the environment says otherwise.",
            )

    @classmethod
    def recognize(cls, shapes: Shapes) -> dict[str, Any] | None:
        names = {name.split(".")[0] for name in shapes}
        kind = next((KINDS[name] for name in KINDS if name in names), None)
        if kind is None or not has_keys(shapes, "l1.weight", "l2.weight") or "l3.weight" in shapes:
            return None
        head = "alpha_head.weight" if kind == "beta" else "mu_head.weight"
        if head not in shapes:
            return None
        hidden, inputs = shapes["l1.weight"]
        return {"kind": kind, "inputs": inputs, "hidden": hidden, "actions": shapes[head][0]}

    def act(self, observation: Num[Tensor, "row ..."], state: Any, noise: Noise | None) -> Acted:
        """Acts once for every row; see Agent."""
        one, other = self.module(flat(observation, next(self.module.parameters())))
        if self.module.kind == "beta":
            mean, outputs = one / (one + other), {"alpha": one, "beta": other}
            unit = mean if noise is None else sample_beta(one, other, noise)
        else:
            mean, outputs = one, {"log_std": other}
            unit = draw(mean, other, noise)
        action = (2 * unit - 1).clamp(-1, 1) * self.max_action
        stretched = (2 * mean - 1) * self.max_action
        return Acted(action.detach().cpu().numpy(), {"mean": stretched, **outputs}, state)


def sample_beta(
    alpha: Float[Tensor, "row action"], beta: Float[Tensor, "row action"], noise: Noise
) -> Float[Tensor, "row action"]:
    """One sample per row, by the inverse of the distribution function."""
    # Here, because it takes long to import and little needs it.
    from scipy.special import betaincinv

    uniform = noise.uniform(alpha.shape[-1]).cpu().numpy().astype(np.float64)
    sampled = betaincinv(
        alpha.detach().double().cpu().numpy(), beta.detach().double().cpu().numpy(), uniform
    )
    return torch.from_numpy(np.asarray(sampled)).to(alpha)
