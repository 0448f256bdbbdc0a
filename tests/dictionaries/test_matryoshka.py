"""Matryoshka keeps the contract, and its first features explain on their own."""

import pytest
import torch

from policyscope.dictionaries.batch_topk import BatchTopK
from policyscope.dictionaries.fit import fit
from policyscope.dictionaries.matryoshka import Matryoshka
from policyscope.dictionaries.sparse import Sparse
from policyscope.errors import InvalidInput
from policyscope.testing.dictionaries import DictionaryContract
from policyscope.testing.planted import planted_dictionary, planted_directions


class TestMatryoshka(DictionaryContract):
    def make(self) -> Matryoshka:
        return Matryoshka(width=6, k=2, levels=2, growth=2)


class TestMatryoshkaAutoencoder(DictionaryContract):
    d_in = d_out = 5

    def make(self) -> Matryoshka:
        return Matryoshka(width=16, k=3)


@pytest.mark.parametrize(
    ("width", "levels", "growth", "prefixes"),
    [(64, 3, 4, (4, 16, 64)), (64, 1, 4, (64,)), (10, 3, 2, (2, 5, 10)), (6, 4, 3, (1, 2, 6))],
)
def test_prefixes_rise_to_the_whole(width: int, levels: int, growth: int, prefixes: tuple[int]):
    assert Matryoshka(width, levels=levels, growth=growth).prefixes == prefixes


@pytest.mark.parametrize("width", [16, 512])
def test_the_loss_is_the_mean_over_prefixes(width: int):
    # The wide one lists its codes, the narrow one has them as a matrix.
    dictionary = Matryoshka(width, k=2)
    dictionary.build(64, 64, torch.Generator().manual_seed(0))
    x = torch.randn(200, 64, generator=torch.Generator().manual_seed(1))
    loss = dictionary.loss(x, x)
    with torch.no_grad():
        pre = dictionary.pre(x)
        cut = pre.flatten().topk(2 * 200).values.min()
        codes = torch.where(pre >= cut, pre, 0.0)
        errors = []
        for prefix in dictionary.prefixes:
            guess = codes[:, :prefix] @ dictionary.decoder[:prefix] + dictionary.decoder_bias
            errors.append((guess - x).square().sum(-1).mean())
    torch.testing.assert_close(loss.parts["mse"], errors[-1])
    torch.testing.assert_close(loss.total.detach(), torch.stack(errors).mean())


def unexplained_by_first(dictionary: Sparse, x: torch.Tensor, count: int) -> float:
    codes = dictionary.encode(x)
    codes[:, count:] = 0
    return float((dictionary.decode(codes) - x).var(0).sum() / x.var(0).sum())


def test_its_first_features_explain_more_than_those_of_batch_topk():
    directions = planted_directions(32, 16)
    # The first eight directions matter most, wherever a dictionary keeps them.
    x, codes = planted_dictionary(directions, 6000, active=(2, 4), noise=0.0)
    weight = torch.linspace(3, 0.3, 32)
    x = (codes * weight) @ directions
    explained = []
    for dictionary in (Matryoshka(32, k=3), BatchTopK(32, k=3)):
        schedule = dictionary.schedule.changed(epochs=10, batch_size=256, learning_rate=3e-3)
        found = fit(dictionary, x, x, schedule=schedule).dictionary
        with torch.no_grad():
            assert isinstance(found, Sparse)
            explained.append(1 - unexplained_by_first(found, x, 8))
    assert explained[0] > 1.5 * explained[1]


@pytest.mark.parametrize("choices", [{"levels": 0}, {"growth": 1}])
def test_levels_that_do_not_nest_are_refused(choices: dict[str, int]):
    with pytest.raises(InvalidInput, match="give at least 1 level"):
        Matryoshka(8, k=2, **choices).build(4, 4, torch.Generator())
