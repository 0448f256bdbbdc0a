"""The ReLU dictionary keeps the contract and is the source's transcoder, draw for draw."""

import pytest
import torch
from torch import nn

from policyscope.dictionaries.relu import ReLU
from policyscope.testing.dictionaries import DictionaryContract


class TestReLU(DictionaryContract):
    def make(self) -> ReLU:
        return ReLU(width=4, penalty=1e-3)


class TestReLUAutoencoder(DictionaryContract):
    d_in = d_out = 4

    def make(self) -> ReLU:
        return ReLU(width=9)


def test_it_is_drawn_as_torch_draws_the_source_by_default():
    torch.manual_seed(7)
    source = nn.ModuleDict(
        {"encoder": nn.Sequential(nn.Linear(6, 3), nn.ReLU()), "decoder": nn.Linear(3, 5)}
    )
    ours = ReLU(width=3)
    ours.build(6, 5, torch.Generator().manual_seed(7))
    expected = source.state_dict()
    assert ours.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in ours.state_dict().items())


def test_the_loss_is_that_of_the_source():
    dictionary = ReLU(width=3, penalty=0.25)
    dictionary.build(2, 4, torch.Generator().manual_seed(0))
    x, y = torch.randn(8, 6, generator=torch.Generator().manual_seed(1)).split([2, 4], 1)
    with torch.no_grad():
        per_step = [
            float((dictionary.decode(c) - t).square().sum() + 0.25 * c.abs().sum())
            for c, t in zip(dictionary.encode(x), y, strict=True)
        ]
        said = dictionary.loss(x, y)
    loss, parts = said.total, said.parts
    assert float(loss) == pytest.approx(sum(per_step) / 8, rel=1e-5)
    assert float(loss) == pytest.approx(float(parts["mse"] + 0.25 * parts["l1"]))
