"""The zoo trains agents by name, keeps them, and they open again as what they were."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from policyscope.agents.architectures import MLP
from policyscope.agents.loading import open_agent as open_spec
from policyscope.agents.loading import open_file
from policyscope.agents.sites import list_sites
from policyscope.errors import InvalidInput, UnknownName
from policyscope.zoo import cartpole, system
from policyscope.zoo.system import ZOO, cache_folder, open_agent, train_agent, zoo_table

TRAINED: list[tuple[int, bool]] = []


@pytest.fixture(autouse=True)
def quick_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Training that takes no time, and a cache of one's own."""

    def train(seed: int, quick: bool) -> tuple[nn.Module, dict[str, Any]]:
        TRAINED.append((seed, quick))
        torch.manual_seed(seed)
        return MLP([4, 128, 64, 2]), {"validation_return": 9.0, "seed": seed}

    TRAINED.clear()
    one = ZOO["cartpole"]
    facts = {name: getattr(one, name) for name in one.__dataclass_fields__}
    monkeypatch.setitem(ZOO, "cartpole", system.System(**{**facts, "train": train}))
    monkeypatch.setenv("POLICYSCOPE_CACHE", str(tmp_path / "cache"))


def test_trained_agent_opens_as_it_was_trained(tmp_path: Path) -> None:
    out = tmp_path / "new" / "agent.safetensors"
    facts = train_agent("cartpole", out, seed=3, quick=True)
    assert TRAINED == [(3, True)]
    assert facts == {
        "name": "cartpole",
        "environment": "CartPole-v1",
        "file": str(out),
        "validation_return": 9.0,
        "seed": 3,
    }
    opened = open_file(out)
    assert (opened.name, opened.algorithm) == ("zoo:cartpole", "REINFORCE")
    torch.manual_seed(3)
    assert torch.equal(
        opened.module.get_parameter("fc1.weight"), MLP([4, 128, 64, 2]).get_parameter("fc1.weight")
    )


def test_the_agent_has_the_sites_that_its_layers_name() -> None:
    agent = open_agent("cartpole")
    sites = {str(info.site) for info in list_sites(agent, torch.zeros(1, 4))}
    for reads, writes in ZOO["cartpole"].layers.values():
        assert {reads, writes} <= sites


def test_zoo_agent_is_trained_once_and_then_kept() -> None:
    first, second = open_spec("zoo:cartpole"), open_spec("zoo:cartpole")
    assert TRAINED == [(0, False)]
    assert first.fingerprint() == second.fingerprint()
    assert [path.name for path in cache_folder().iterdir()] == ["cartpole-seed0.safetensors"]


def test_cache_follows_the_users_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POLICYSCOPE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/policyscope/zoo")


def test_unknown_agent_has_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'cartpole'"):
        train_agent("cartpol", tmp_path / "a.safetensors")
    with pytest.raises(UnknownName, match="Known: cartpole"):
        open_agent("x")


@pytest.mark.parametrize("out", ["agent.pt", "agent", "file/agent.safetensors"])
def test_place_is_checked_before_training(tmp_path: Path, out: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput):
        train_agent("cartpole", tmp_path / out)
    assert TRAINED == []


def test_table_lists_every_agent() -> None:
    text = str(zoo_table())
    assert all(name in text for name in ZOO)


def test_training_reports_what_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cartpole, "VALIDATION_EPISODES", 2)
    monkeypatch.setattr(cartpole, "train", partial(cartpole.train, episodes=1))
    module, facts = system.train_cartpole(seed=0, quick=True)
    assert isinstance(module, cartpole.CartPolePolicy)
    assert facts["target"] == cartpole.QUICK_TARGET
    assert facts["validation_episodes"] == 2
    assert facts["on_target"] is (facts["validation_return"] >= facts["target"])
