"""ICA keeps the contract and finds sources that were mixed."""

import pytest
import torch

from policyscope.dictionaries.fit import fit
from policyscope.dictionaries.ica import ICA
from policyscope.dictionaries.pca import PCA
from policyscope.errors import InvalidInput
from policyscope.testing.dictionaries import DictionaryContract


class TestICA(DictionaryContract):
    def make(self) -> ICA:
        return ICA(width=3)


class TestICAAutoencoder(DictionaryContract):
    d_in = d_out = 5

    def make(self) -> ICA:
        return ICA(width=4, k=2)


def sources(steps: int = 4000) -> tuple[torch.Tensor, torch.Tensor]:
    """Four sources with a long tail, and the directions along which they are mixed."""
    generator = torch.Generator().manual_seed(0)
    source = -torch.rand(steps, 4, generator=generator).log()
    directions = torch.nn.functional.normalize(torch.randn(4, 6, generator=generator), dim=1)
    return source, directions


def test_mixed_sources_are_found_with_their_signs():
    source, directions = sources()
    x = source @ directions + 5
    dictionary = fit(ICA(4), x, x).dictionary
    cosine = directions @ dictionary.directions().T
    assert cosine.amax(1).min() > 0.99
    assert dictionary.directions().norm(dim=1).numpy() == pytest.approx(1, abs=1e-5)
    codes = dictionary.encode(x)[:, cosine.argmax(1)]
    torch.testing.assert_close(codes, source - source.mean(0), atol=0.3, rtol=0)


def test_it_reconstructs_as_well_as_pca_of_its_width():
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(2000, 6, generator=generator).exp() @ torch.randn(6, 6, generator=generator)
    assert fit(ICA(3), x, x).unexplained == pytest.approx(fit(PCA(3), x, x).unexplained, rel=1e-3)


def test_stopping_early_is_a_note_and_no_crash():
    source, directions = sources()
    x = source @ directions
    fitted = fit(ICA(4, iterations=1), x, x)
    assert "not settled after 1 steps" in fitted.dictionary.note
    assert fit(ICA(4), x, x).dictionary.note == ""


def test_more_components_than_directions_are_refused():
    source, directions = sources()
    with pytest.raises(InvalidInput, match=r"6 units vary along 4 directions.*at most 4"):
        fit(ICA(5), source @ directions, source @ directions)
