"""NMF keeps the contract, finds parts, and its codes are the non-negative least squares."""

import numpy as np
import pytest
import torch
from scipy.optimize import nnls

from policyscope.dictionaries.fit import fit
from policyscope.dictionaries.nmf import NMF
from policyscope.errors import InvalidInput
from policyscope.testing.dictionaries import DictionaryContract


class TestNMF(DictionaryContract):
    def make(self) -> NMF:
        return NMF(width=3)

    def inputs(self, *axes: int, seed: int = 1) -> torch.Tensor:
        return super().inputs(*axes, seed=seed).abs()


class TestNMFAutoencoder(TestNMF):
    d_in = d_out = 5

    def make(self) -> NMF:
        return NMF(width=7, k=2)


def planted(steps: int = 2000) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums of three parts that share no unit, and the parts."""
    generator = torch.Generator().manual_seed(0)
    parts = torch.zeros(3, 9)
    for part in range(3):
        parts[part, 3 * part : 3 * part + 3] = torch.rand(3, generator=generator) + 0.2
    parts = torch.nn.functional.normalize(parts, dim=1)
    present = torch.rand(steps, 3, generator=generator) < 0.5
    return torch.rand(steps, 3, generator=generator) * present @ parts, parts


def test_parts_are_found():
    x, parts = planted()
    fitted = fit(NMF(3), x, x)
    assert (parts @ fitted.dictionary.directions().T).amax(1).min() > 0.99
    assert fitted.unexplained < 0.01
    assert (fitted.dictionary.encode(x) >= 0).all()
    assert (fitted.dictionary.directions() >= 0).all()


def test_codes_are_the_non_negative_least_squares():
    x = torch.rand(60, 8, generator=torch.Generator().manual_seed(1))
    dictionary = fit(NMF(5, readings=1000), x, x).dictionary
    parts = dictionary.directions().double().numpy()
    exact = np.stack([nnls(parts.T, row)[0] for row in x.double().numpy()])
    assert dictionary.encode(x).detach().numpy() == pytest.approx(exact, abs=1e-4)


def test_the_kept_codes_stand_for_the_others():
    x = torch.rand(60, 8, generator=torch.Generator().manual_seed(1))
    dictionary = fit(NMF(5, k=2), x, x).dictionary
    codes = dictionary.encode(x)
    assert ((codes > 0).sum(1) <= 2).all()
    left = (dictionary.decode(codes) - x).square().sum()
    cut = dictionary.activate(dictionary.pre(x))
    assert left < (dictionary.decode(cut) - x).square().sum()


def test_gradients_pass_through_the_codes():
    x = torch.rand(4, 8, generator=torch.Generator().manual_seed(1))
    dictionary = fit(NMF(3), x, x).dictionary
    x.requires_grad_()
    dictionary(x).sum().backward()
    assert x.grad is not None
    assert (x.grad != 0).any()


def test_negative_activations_are_refused_with_the_unit():
    x = torch.rand(50, 4, generator=torch.Generator().manual_seed(1))
    x[7, 2] = -1.5
    with pytest.raises(InvalidInput, match=r"Unit 2 goes down to -1.5.*after a ReLU"):
        fit(NMF(2), x, x)


def test_stopping_early_is_a_note_and_no_crash():
    x = torch.rand(200, 8, generator=torch.Generator().manual_seed(1))
    assert "not settled after 1 steps" in fit(NMF(5, iterations=1), x, x).dictionary.note
