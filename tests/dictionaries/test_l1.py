"""L1 keeps the contract; its penalty rises, shrinks codes by what theory says, and dead features
are lifted."""

import pytest
import torch

from policyscope.dictionaries.dictionary import Stage
from policyscope.dictionaries.l1 import L1
from policyscope.errors import InvalidInput
from policyscope.testing.dictionaries import DictionaryContract


class TestL1(DictionaryContract):
    def make(self) -> L1:
        return L1(width=6, penalty=0.1)


class TestL1Autoencoder(DictionaryContract):
    d_in = d_out = 5

    def make(self) -> L1:
        return L1(width=8, revival=False)


def built(penalty: float = 1.0, ramp: float = 0.1) -> L1:
    dictionary = L1(width=4, penalty=penalty, ramp=ramp)
    dictionary.build(4, 4, torch.Generator().manual_seed(0))
    return dictionary


def test_the_penalty_rises_over_the_ramp_and_stays():
    dictionary = built(penalty=2.0, ramp=0.2)
    x = torch.randn(32, 4, generator=torch.Generator().manual_seed(1))
    for progress, share in ((0.0, 0.0), (0.1, 0.5), (0.2, 1.0), (0.9, 1.0)):
        loss = dictionary.loss(x, x, Stage(progress))
        expected = loss.parts["mse"] + 2.0 * share * loss.parts["l1"]
        torch.testing.assert_close(loss.total, expected)
    flat = built(penalty=2.0, ramp=0.0).loss(x, x, Stage(0.0))
    torch.testing.assert_close(flat.total, flat.parts["mse"] + 2.0 * flat.parts["l1"])


@pytest.mark.parametrize(("bias", "slope"), [(-0.2, 0.0), (0.0, 0.4), (-0.4, -0.4)])
def test_codes_shrink_by_half_the_penalty(bias: float, slope: float):
    """‖z − a‖² + λz is least at z = a − λ/2, where directions are orthogonal."""
    dictionary = built(penalty=0.4)
    with torch.no_grad():
        dictionary.encoder.copy_(torch.eye(4))
        dictionary.decoder.copy_(torch.eye(4))
        dictionary.encoder_bias.fill_(bias)
    x = torch.eye(4) * 3
    dictionary.loss(x, x).total.backward()
    # Each feature is active in a quarter of the steps.
    assert dictionary.encoder_bias.grad is not None
    torch.testing.assert_close(4 * dictionary.encoder_bias.grad, torch.full((4,), slope))


def test_a_dead_feature_is_lifted_until_its_strongest_reading_counts():
    dictionary = built()
    with torch.no_grad():
        dictionary.encoder_bias.fill_(-50.0)
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
    dictionary.loss(x, x, Stage(0.5, torch.tensor([True, False, True, False])))
    dictionary.after_step()
    active = dictionary.encode(x) > 0
    assert active.any(0).tolist() == [True, False, True, False]
    assert active.sum(0).max() <= 2


def test_nobody_is_lifted_where_that_is_not_wanted():
    dictionary = L1(width=4, revival=False)
    dictionary.build(4, 4, torch.Generator().manual_seed(0))
    before = dictionary.encoder_bias.detach().clone()
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(1)) - 9
    dictionary.loss(x, x, Stage(0.5, torch.ones(4, dtype=torch.bool)))
    dictionary.after_step()
    assert torch.equal(dictionary.encoder_bias, before)


@pytest.mark.parametrize("choices", [{"penalty": -1.0}, {"penalty": float("nan")}, {"ramp": -0.1}])
def test_choices_that_mean_nothing_are_refused(choices: dict[str, float]):
    (name,) = choices
    with pytest.raises(InvalidInput, match=f"{name} is"):
        built(**choices)
