"""JumpReLU keeps the contract, has the gradients of its paper, and ends with k features active."""

import pytest
import torch

from policyscope.dictionaries.dictionary import Stage
from policyscope.dictionaries.fit import fit
from policyscope.dictionaries.jumprelu import JumpReLU, passed
from policyscope.errors import InvalidInput
from policyscope.testing.dictionaries import DictionaryContract
from policyscope.testing.planted import planted_dictionary, planted_directions


class TestJumpReLU(DictionaryContract):
    def make(self) -> JumpReLU:
        return JumpReLU(width=6, k=2)


class TestJumpReLUAutoencoder(DictionaryContract):
    d_in = d_out = 5

    def make(self) -> JumpReLU:
        return JumpReLU(width=8, k=3, bandwidth=0.5)


def test_the_step_is_exact_and_its_gradient_that_of_a_ramp():
    """−1/ε for each reading within ε/2 of the threshold, and none for the readings."""
    pre = torch.tensor([[0.5], [0.9], [1.1], [1.2001], [3.0]], requires_grad=True)
    threshold = torch.tensor([1.0], requires_grad=True)
    above = passed(pre, threshold, bandwidth=0.4)
    assert above.flatten().tolist() == [0.0, 0.0, 1.0, 1.0, 1.0]
    above.sum().backward()
    assert threshold.grad is not None
    assert float(threshold.grad) == pytest.approx(-2 / 0.4)
    assert pre.grad is None


def test_a_reading_below_its_threshold_counts_for_nothing_and_above_it_for_all():
    dictionary = JumpReLU(width=2, k=1)
    dictionary.build(2, 2, torch.Generator().manual_seed(0))
    with torch.no_grad():
        dictionary.threshold.copy_(torch.tensor([1.0, 0.0]))
    pre = torch.tensor([[0.9, 0.1], [1.1, -0.1]])
    assert torch.equal(dictionary.activate(pre), torch.tensor([[0.0, 0.1], [1.1, 0.0]]))


def test_it_begins_with_about_k_active():
    dictionary = JumpReLU(width=400, k=20)
    dictionary.build(64, 64, torch.Generator().manual_seed(0))
    x = torch.randn(2000, 64, generator=torch.Generator().manual_seed(1))
    assert float((dictionary.encode(x) > 0).sum(-1).float().mean()) == pytest.approx(20, rel=0.05)


def test_the_threshold_of_a_dead_feature_comes_down_to_its_readings():
    dictionary = JumpReLU(width=4, k=2)
    dictionary.build(4, 4, torch.Generator().manual_seed(0))
    with torch.no_grad():
        dictionary.threshold.fill_(50.0)
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
    dictionary.loss(x, x, Stage(0.5, torch.tensor([True, True, False, False])))
    dictionary.after_step()
    active = (dictionary.encode(x) > 0).any(0)
    assert active.tolist() == [True, True, False, False]
    assert dictionary.threshold[2:].tolist() == [50.0, 50.0]


def test_a_fit_of_a_few_hundred_steps_ends_with_k_active_and_no_feature_dead():
    directions = planted_directions(32, 16)
    x, _ = planted_dictionary(directions, 6000, active=(1, 5), noise=0.02)
    x = 3 * x + 20
    schedule = JumpReLU.schedule.changed(epochs=10, batch_size=256)
    dictionary = fit(JumpReLU(32, k=3), x, x, schedule=schedule).dictionary
    active = dictionary.encode(x) > 0
    assert float(active.sum(-1).float().mean()) == pytest.approx(3, abs=0.02)
    assert active.any(0).all()


@pytest.mark.parametrize(
    "choices", [{"bandwidth": 0.0}, {"bandwidth": -1.0}, {"penalty": -1.0}, {"ramp": 2.0}]
)
def test_choices_that_mean_nothing_are_refused(choices: dict[str, float]):
    (name,) = choices
    with pytest.raises(InvalidInput, match=f"{name} is"):
        JumpReLU(8, k=2, **choices).build(4, 4, torch.Generator())
