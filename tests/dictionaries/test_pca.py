"""PCA keeps the contract and is scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn import decomposition

from policyscope.dictionaries.fit import fit
from policyscope.dictionaries.pca import PCA
from policyscope.errors import InvalidInput
from policyscope.testing.dictionaries import DictionaryContract


class TestPCA(DictionaryContract):
    def make(self) -> PCA:
        return PCA(width=3)


class TestPCAAutoencoder(DictionaryContract):
    d_in = d_out = 5

    def make(self) -> PCA:
        return PCA(width=4, k=2)


def samples(steps: int = 2000, units: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(units, units, generator=generator)
    # A mean that is large against the spread, as activations of agents have it.
    return torch.randn(steps, units, generator=generator) @ mixing + 50


@pytest.mark.parametrize("scale", [False, True])
def test_it_is_the_one_of_scikit_learn(scale: bool):
    x = samples()
    fitted = fit(PCA(3), x, x, schedule=PCA.schedule.changed(scale=scale), held_out=(x, x))
    theirs = decomposition.PCA(3).fit(x.double().numpy())
    ours = fitted.dictionary.directions().double().numpy()
    cosine = np.abs((ours * theirs.components_).sum(1))
    assert cosine == pytest.approx(1, abs=1e-6)
    assert fitted.unexplained == pytest.approx(1 - theirs.explained_variance_ratio_.sum(), rel=1e-4)
    codes = fitted.dictionary.encode(x).detach().double().numpy()
    assert np.abs(codes) == pytest.approx(np.abs(theirs.transform(x.double().numpy())), abs=1e-3)


def test_features_come_by_variance_and_are_orthonormal():
    x = samples()
    dictionary = fit(PCA(8), x, x).dictionary
    variances = dictionary.encode(x).var(0)
    assert (variances.diff() < 0).all()
    directions = dictionary.directions()
    torch.testing.assert_close(directions @ directions.T, torch.eye(8), atol=1e-5, rtol=0)


def test_more_components_than_directions_are_refused_with_what_is_possible():
    x = samples()
    x[:, 5:] = x[:, :3]
    with pytest.raises(InvalidInput, match=r"8 units vary along 5 directions.*at most 5"):
        fit(PCA(6), x, x)
    assert fit(PCA(5), x, x).unexplained < 1e-6


def test_as_a_transcoder_its_decoder_is_least_squares():
    x = samples()
    y = x @ torch.randn(8, 3, generator=torch.Generator().manual_seed(1))
    fitted = fit(PCA(4), x, y, held_out=(x, y))
    codes = np.c_[fitted.dictionary.encode(x).detach().double().numpy(), np.ones(len(x))]
    target = y.double().numpy()
    solution = np.linalg.lstsq(codes, target)[0]
    left = ((codes @ solution - target) ** 2).sum() / ((target - target.mean(0)) ** 2).sum()
    assert fitted.unexplained == pytest.approx(left, rel=1e-4)
