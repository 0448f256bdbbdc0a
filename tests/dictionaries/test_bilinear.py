"""Bilinear keeps the contract, begins as TopK, and finds products that TopK cannot read."""

import torch

from policyscope.dictionaries.bilinear import Bilinear
from policyscope.dictionaries.fit import fit
from policyscope.dictionaries.topk import TopK
from policyscope.testing.dictionaries import DictionaryContract


class TestBilinear(DictionaryContract):
    def make(self) -> Bilinear:
        return Bilinear(width=6, k=2)


class TestBilinearAutoencoder(DictionaryContract):
    d_in = d_out = 5

    def make(self) -> Bilinear:
        return Bilinear(width=8, k=3)


def test_a_reading_is_the_product_of_two():
    dictionary = Bilinear(width=3, k=3)
    dictionary.build(4, 2, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in dictionary.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(1))
    x = torch.randn(7, 4, generator=torch.Generator().manual_seed(2))
    first = x @ dictionary.encoder.T + dictionary.encoder_bias
    second = x @ dictionary.second.T + dictionary.second_bias
    torch.testing.assert_close(dictionary.pre(x), first * second)
    torch.testing.assert_close(dictionary.encode(x), (first * second).relu())


def test_it_begins_as_topk():
    x = torch.randn(20, 5, generator=torch.Generator().manual_seed(2))
    outputs = []
    for dictionary in (Bilinear(8, k=2), TopK(8, k=2)):
        dictionary.build(5, 5, torch.Generator().manual_seed(0))
        outputs.append(dictionary(x))
    torch.testing.assert_close(*outputs)


def test_products_of_units_are_read():
    """y is x₁x₂ and x₃x₄: a product has no linear part, so a linear reading explains little."""
    x = torch.randn(6000, 4, generator=torch.Generator().manual_seed(0))
    y = torch.stack([x[:, 0] * x[:, 1], x[:, 2] * x[:, 3]], 1)
    left = []
    for dictionary in (Bilinear(8, k=4), TopK(8, k=4)):
        schedule = dictionary.schedule.changed(epochs=20, batch_size=256, learning_rate=1e-2)
        left.append(fit(dictionary, x, y, schedule=schedule).unexplained)
    assert left[0] < 0.1
    assert left[1] > 3 * left[0]
