"""Gated keeps the contract; gates decide, magnitudes say how much, and codes do not shrink."""

import pytest
import torch

from policyscope.dictionaries.gated import Gated
from policyscope.testing.dictionaries import DictionaryContract


class TestGated(DictionaryContract):
    def make(self) -> Gated:
        return Gated(width=6, penalty=0.1)


class TestGatedAutoencoder(DictionaryContract):
    d_in = d_out = 5

    def make(self) -> Gated:
        return Gated(width=8)


def built() -> Gated:
    dictionary = Gated(width=2, penalty=0.5, ramp=0.0)
    dictionary.build(2, 2, torch.Generator().manual_seed(0))
    with torch.no_grad():
        dictionary.encoder.copy_(torch.eye(2))
        dictionary.decoder.copy_(torch.eye(2))
        dictionary.encoder_bias.copy_(torch.tensor([-1.0, 0.0]))
        dictionary.log_gain.copy_(torch.tensor([2.0, 1.0]).log())
        dictionary.magnitude_bias.copy_(torch.tensor([0.5, -3.0]))
    return dictionary


def test_the_gate_decides_and_the_magnitude_says_how_much():
    x = torch.tensor([[0.9, 4.0], [1.5, 2.0]])
    # Gates x − (1, 0); magnitudes 2x + ½ and x − 3.
    assert torch.allclose(built().encode(x), torch.tensor([[0.0, 1.0], [3.5, 0.0]]))


def test_the_loss_is_the_error_the_guess_of_the_gates_and_the_penalty():
    dictionary = built()
    x = torch.tensor([[1.5, 4.0]])
    with torch.no_grad():
        loss = dictionary.loss(x, x)
    # Codes (3.5, 1), gates (0.5, 4).
    assert float(loss.parts["mse"]) == pytest.approx(2.0**2 + 3.0**2)
    assert float(loss.parts["gate_mse"]) == pytest.approx(1.0)
    assert float(loss.parts["l1"]) == pytest.approx(4.5)
    assert float(loss.total) == pytest.approx(13 + 1 + 0.5 * 4.5)


def test_the_gates_teach_neither_the_decoder_nor_its_bias():
    dictionary = built()
    x = torch.tensor([[1.5, 4.0]])
    loss = dictionary.loss(x, x)
    (loss.total - loss.parts["mse"]).backward()
    assert dictionary.decoder.grad is None or not dictionary.decoder.grad.any()
    assert dictionary.decoder_bias.grad is None or not dictionary.decoder_bias.grad.any()
    assert dictionary.encoder_bias.grad is not None
    assert dictionary.encoder_bias.grad.all()


def test_codes_do_not_shrink():
    """Where the penalty has moved the gates as far as it will, codes are what they should be."""
    dictionary = Gated(width=4, penalty=0.4, ramp=0.0)
    dictionary.build(4, 4, torch.Generator().manual_seed(0))
    with torch.no_grad():
        dictionary.encoder.copy_(torch.eye(4))
        dictionary.decoder.copy_(torch.eye(4))
        dictionary.encoder_bias.fill_(-0.2)
    x = torch.eye(4) * 3
    torch.testing.assert_close(dictionary.encode(x), x)
    dictionary.loss(x, x).total.backward()
    for parameter in dictionary.parameters():
        gradient = parameter.grad
        assert gradient is not None
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-6, rtol=0)
