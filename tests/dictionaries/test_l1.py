"""L1 keeps the contract; its penalty rises, shrinks codes by what theory says, and dead features
are lifted."""

import pytest
import torch

from policyscope.dictionaries.dictionary import Stage
from policyscope.dictionaries.fit import fit
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


def built(**choices: float) -> L1:
    dictionary = L1(width=4, **choices)
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


def test_codes_shrink_by_half_the_penalty():
    """‖z − a‖² + λz is least at z = a − λ/2."""
    generator = torch.Generator().manual_seed(0)
    # One unit at a time, so that directions are orthogonal.
    amounts = 2 + torch.rand(4000, generator=generator)
    x = torch.nn.functional.one_hot(torch.arange(4000) % 4, 4) * amounts[:, None]
    schedule = L1.schedule.changed(
        epochs=30, batch_size=200, learning_rate=1e-2, scale=False, clip=float("inf")
    )
    dictionary = fit(L1(width=4, penalty=0.4), x, x, schedule=schedule).dictionary
    largest = dictionary.encode(x).detach().amax(1)
    assert float((amounts - largest).mean()) == pytest.approx(0.2, abs=0.02)


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
