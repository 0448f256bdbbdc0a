"""TopK keeps the contract, and k features are active."""

import torch

from policyscope.dictionaries.topk import TopK
from policyscope.testing.dictionaries import DictionaryContract


class TestTopK(DictionaryContract):
    def make(self) -> TopK:
        return TopK(width=6, k=2)


class TestTopKAutoencoder(DictionaryContract):
    d_in = d_out = 5

    def make(self) -> TopK:
        return TopK(width=8, k=3, revival=0.0)


def test_the_largest_readings_are_active_where_they_are_positive():
    dictionary = TopK(width=3, k=2)
    pre = torch.tensor([[3.0, 1.0, 2.0], [-1.0, 4.0, -2.0], [-1.0, -2.0, -3.0]])
    expected = torch.tensor([[3.0, 0.0, 2.0], [0.0, 4.0, 0.0], [0.0, 0.0, 0.0]])
    assert torch.equal(dictionary.activate(pre), expected)
