"""Weights in other people's files: where they are found, and what is refused."""

import argparse
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from policyscope.agents.weights import read_weights
from policyscope.errors import CorruptFile, InvalidInput, NotFinite, UnknownName, UntrustedFile

TENSORS = OrderedDict({"0.weight": torch.ones(2, 3), "0.bias": torch.zeros(2)})
OTHERS = {"1.weight": torch.ones(4)}


def written(path, held):
    torch.save(held, path)
    return path


@pytest.mark.parametrize(
    ("held", "place"),
    [
        (TENSORS, ""),
        ({"state_dict": TENSORS, "epoch": 3}, "state_dict"),
        ({"critic": OTHERS, "actor": TENSORS}, "actor"),
        ({"target_network": OTHERS, "network": TENSORS}, "network"),
        ({"agent": {"model_state_dict": TENSORS}}, "agent.model_state_dict"),
        ({"optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}, "pi": TENSORS}, "pi"),
        ((TENSORS, OTHERS), "[0]"),
    ],
)
def test_the_state_dict_that_acts_comes_first(tmp_path, held, place):
    found = read_weights(written(tmp_path / "agent.pt", held))[0]
    assert found.place == place
    assert list(found.shapes.items()) == [("0.weight", (2, 3)), ("0.bias", (2,))]


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_what_a_wrapper_put_before_every_name_is_taken_off(tmp_path, prefix):
    wrapped = {prefix + name: tensor for name, tensor in TENSORS.items()}
    found = read_weights(written(tmp_path / "agent.pt", wrapped))[0]
    assert found.wrapper == prefix
    assert list(found.tensors) == list(TENSORS)


def test_plain_values_beside_the_weights_are_facts(tmp_path):
    held = {
        "state_dict": TENSORS,
        "env_id": "CartPole-v1",
        "best": np.float64(3.5),
        "arguments": argparse.Namespace(lr=0.1),
    }
    facts = read_weights(written(tmp_path / "agent.pt", held))[0].facts
    assert facts["env_id"] == "CartPole-v1"
    assert facts["best"] == 3.5


def test_safetensors_are_read_too(tmp_path):
    save_file(dict(TENSORS), tmp_path / "agent.safetensors")
    assert set(read_weights(tmp_path / "agent.safetensors")[0].tensors) == set(TENSORS)


def test_a_pickled_module_is_refused_with_what_it_holds_until_it_is_trusted(tmp_path):
    path = written(tmp_path / "agent.pt", nn.Sequential(nn.Linear(3, 2)))
    with pytest.raises(UntrustedFile, match=r"a whole module: .*linear\.Linear.*--trust"):
        read_weights(path)
    assert list(read_weights(path, trust=True)[0].tensors) == ["0.weight", "0.bias"]


class Attack:
    def __reduce__(self):
        return print, ("this must never be printed",)


def test_code_in_a_checkpoint_is_named_and_never_run(tmp_path, capsys):
    path = written(tmp_path / "agent.pt", {"state_dict": TENSORS, "hook": Attack()})
    with pytest.raises(UntrustedFile, match=r"would call .*print"):
        read_weights(path)
    assert capsys.readouterr().out == ""


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_torchscript_is_refused_as_the_program_it_is(tmp_path):
    torch.jit.save(torch.jit.trace(nn.Linear(3, 2), torch.ones(1, 3)), tmp_path / "agent.pt")
    for trust in (False, True):
        with pytest.raises(UntrustedFile, match="TorchScript"):
            read_weights(tmp_path / "agent.pt", trust=trust)


def test_a_file_cut_short_is_corrupt(tmp_path):
    path = written(tmp_path / "agent.pt", TENSORS)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CorruptFile, match=r"agent\.pt"):
        read_weights(path)


def test_shapes_that_nothing_stands_behind_are_corrupt(tmp_path):
    huge = {"0.weight": torch.zeros(1).expand(2**40)}
    with pytest.raises(CorruptFile, match=r"0\.weight claims shape"):
        read_weights(written(tmp_path / "agent.pt", huge))


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    path = written(tmp_path / "agent.pt", {"0.weight": torch.tensor([float("nan")])})
    with pytest.raises(NotFinite, match=r"'0\.weight' holds NaN"):
        read_weights(path)


def test_a_file_without_weights_says_what_it_holds(tmp_path):
    path = written(tmp_path / "agent.pt", {"epoch": 3})
    with pytest.raises(InvalidInput, match="holds no weights, but a dict of epoch: int"):
        read_weights(path)


def test_a_file_that_is_not_there_is_unknown(tmp_path):
    with pytest.raises(UnknownName, match="no agent file"):
        read_weights(tmp_path / "agent.pt")
