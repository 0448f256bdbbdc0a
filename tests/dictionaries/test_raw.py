"""Raw units keep the contract and are what they read."""

import pytest
import torch

from policyscope.dictionaries.fit import fit
from policyscope.dictionaries.raw import Raw
from policyscope.errors import InvalidInput
from policyscope.testing.dictionaries import DictionaryContract


class TestRaw(DictionaryContract):
    def make(self) -> Raw:
        return Raw()


class TestRawAutoencoder(DictionaryContract):
    d_in = d_out = 5

    def make(self) -> Raw:
        return Raw(k=2)


def samples(steps: int = 500) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(steps, 4, generator=generator) + torch.tensor([10.0, 0, 0, -3])


def test_all_units_are_the_activations_bit_for_bit():
    x = samples()
    dictionary = fit(Raw(), x, x).dictionary
    assert len(dictionary) == 4
    assert torch.equal(dictionary.encode(x), x)
    assert torch.equal(dictionary(x), x)
    assert torch.equal(dictionary.directions(), torch.eye(4))


def test_a_unit_that_is_left_out_counts_at_its_mean():
    x = samples()
    dictionary = fit(Raw(k=1), x, x).dictionary
    codes = dictionary.encode(x)
    assert ((codes != 0).sum(1) == 1).all()
    kept = (x - x.mean(0)).abs().argmax(1)
    assert torch.equal(codes.abs().argmax(1), kept)
    expected = x.mean(0).repeat(len(x), 1).scatter(1, kept[:, None], x.gather(1, kept[:, None]))
    torch.testing.assert_close(dictionary(x), expected)


def test_as_a_transcoder_it_is_linear_regression():
    x = samples()
    mixing = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    fitted = fit(Raw(), x, x @ mixing + 2)
    assert fitted.unexplained < 1e-10
    torch.testing.assert_close(fitted.dictionary.directions(), mixing, atol=1e-4, rtol=1e-4)


def test_another_width_is_refused_and_scaling_too():
    x = samples()
    with pytest.raises(InvalidInput, match=r"width 3 reads 4 units.*Leave the width out"):
        fit(Raw(3), x, x)
    with pytest.raises(InvalidInput, match="k is 5 and the width 4"):
        fit(Raw(k=5), x, x)
    with pytest.raises(InvalidInput, match="cannot be fitted with scale=True"):
        fit(Raw(), x, x, schedule=Raw.schedule.changed(scale=True))


def test_the_template_stays_as_wide_as_it_was_given():
    x, template = samples(), Raw()
    assert fit(template, x, x).dictionary.width == 4
    assert template.width == 0
