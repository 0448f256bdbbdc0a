"""Random directions keep the contract and learn a decoder only."""

import torch

from policyscope.dictionaries.fit import fit
from policyscope.dictionaries.random import Random
from policyscope.testing.dictionaries import DictionaryContract


class TestRandom(DictionaryContract):
    def make(self) -> Random:
        return Random(width=4)


class TestRandomAutoencoder(DictionaryContract):
    d_in = d_out = 5

    def make(self) -> Random:
        return Random(width=9, k=3)


def samples(steps: int = 2000) -> torch.Tensor:
    return torch.randn(steps, 6, generator=torch.Generator().manual_seed(0)) + 20


def test_features_read_about_the_mean_and_half_of_them_fire():
    x = samples()
    codes = fit(Random(64), x, x).dictionary.encode(x)
    assert (codes >= 0).all()
    assert 0.45 < float((codes > 0).float().mean()) < 0.55
    kept = fit(Random(64, k=5), x, x).dictionary.encode(x)
    assert int((kept > 0).sum(1).max()) == 5


def test_directions_do_not_depend_on_the_data_and_differ_by_seed():
    x = samples()
    one, two = (fit(Random(8), data, data).dictionary.encoder for data in (x, 3 * x.square()))
    assert torch.equal(one, two)
    assert not torch.equal(one, fit(Random(8), x, x, seed=1).dictionary.encoder)


def test_wide_enough_the_decoder_explains_nearly_everything():
    x = samples()
    assert fit(Random(200), x, x).unexplained < 1e-3
