"""What can be read inside an agent, and whether it can act where it is asked to."""

from pathlib import Path

import pytest
import torch

from policyscope.agents.adapters.torch import TorchAgent
from policyscope.agents.architectures import MLP
from policyscope.agents.loading import open_file
from policyscope.errors import InvalidInput
from policyscope.studies.inspection import inspect


def test_sites_are_those_that_the_forward_reaches(agent_file: Path) -> None:
    found = inspect(str(agent_file))
    assert found.environment == "CartPole-v1"
    assert found.parameters == 4 * 16 + 16 + 16 * 8 + 8 + 8 * 2 + 2
    shapes = {str(site.site): site.shape for site in found.sites}
    assert shapes["fc2:in"] == (16,)
    assert shapes["fc3:out"] == (2,)
    assert found.metrics[:2] == ("cart_position", "cart_velocity")
    assert "fc2:in" in str(found)
    assert "fc2:in" in found._repr_html_()


def test_looking_changes_nothing(agent_file: Path) -> None:
    agent = open_file(agent_file)
    before = agent.fingerprint()
    inspect(agent)
    assert agent.fingerprint() == before
    assert not any(module._forward_hooks for module in agent.module.modules())


def test_agent_must_say_where_it_acts() -> None:
    with pytest.raises(InvalidInput, match="Give one: --env"):
        inspect(TorchAgent(MLP([4, 2])))


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ([4, 3], "chooses one of 3 actions"),
        ([4, 1], "of 1 actions"),
        ([5, 2], "which observes Box"),
    ],
)
def test_agent_of_another_world_is_refused(sizes: list[int], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        inspect(TorchAgent(MLP(sizes)), "CartPole-v1")


def test_module_that_chokes_on_the_observation_is_refused() -> None:
    class Chokes(torch.nn.Module):
        def forward(self, observation: torch.Tensor) -> torch.Tensor:
            return observation[:, [7]]

    with pytest.raises(InvalidInput, match="cannot act in CartPole-v1"):
        inspect(TorchAgent(Chokes()), "CartPole-v1")
