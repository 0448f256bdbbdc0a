"""Fitting recovers planted features, shows honest curves, and refuses what cannot be fitted."""

import math

import numpy as np
import pytest
import torch

from policyscope.dictionaries.fit import checked, fit, fit_stream, measure, orders
from policyscope.dictionaries.relu import ReLU
from policyscope.errors import InvalidInput, NotEnoughData, NotFinite


def planted(steps: int = 2000, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(x, y, directions): y is made of three features, each the positive part of one unit of x."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(steps, 3, generator=generator)
    directions = torch.nn.functional.normalize(torch.randn(3, 8, generator=generator), dim=1)
    return x, x.relu() @ directions, directions


def test_planted_features_are_recovered():
    x, y, directions = planted()
    # Twice as wide as the truth; the penalty makes one feature do for one direction.
    fitted = fit(ReLU(6, penalty=0.05), x, y, epochs=40, batch_size=64, learning_rate=1e-2)
    assert fitted.unexplained < 0.001
    found = torch.nn.functional.normalize(fitted.dictionary.directions(), dim=1)
    assert (directions @ found.T).amax(1).min() > 0.999


def test_the_template_is_left_as_it_is_and_facts_are_kept():
    x, y, _ = planted(100)
    template = ReLU(2)
    template.name = "layer1/k2"
    fitted = fit(template, x, y, epochs=1)
    assert not template.is_built
    assert fitted.dictionary.name == "layer1/k2"
    assert (fitted.dictionary.d_in, fitted.dictionary.d_out) == (3, 8)


def test_curves_are_what_they_say():
    x, y, _ = planted(300)
    # One batch is the whole data and the rate is next to nothing: the curves are of the start.
    fitted = fit(ReLU(4, penalty=0.5), x, y, epochs=2, batch_size=300, learning_rate=1e-12)
    with torch.no_grad():
        loss, parts = fitted.dictionary.loss(x, y)
    curves = fitted.curves
    assert curves.loss == pytest.approx([float(loss)] * 2)
    assert curves.parts["mse"] == pytest.approx([float(parts["mse"])] * 2)
    assert curves.parts["l1"] == pytest.approx([float(parts["l1"])] * 2)
    assert curves.unexplained[-1] == pytest.approx(
        float(parts["mse"]) * 300 / float((y - y.mean(0)).square().sum()), rel=1e-5
    )
    active = fitted.dictionary.encode(x) > 0
    assert curves.l0[-1] == pytest.approx(float(active.sum(1).float().mean()))
    assert curves.dead[-1] == pytest.approx(float((~active.any(0)).float().mean()))
    assert list(curves.columns()) == ["loss", "mse", "l1", "unexplained", "l0", "dead"]
    assert len(fitted.table().rows) == 2
    assert "unexplained" in repr(fitted)


def test_held_out_data_are_what_is_measured():
    x, y, _ = planted(300)
    other = planted(200, seed=5)[:2]
    fitted = fit(ReLU(4), x, y, epochs=1, held_out=other)
    assert fitted.curves.unexplained[-1] == measure(fitted.dictionary, *other)["unexplained"]


def test_a_dead_dictionary_explains_nothing_and_says_so():
    x, y, _ = planted(300)
    dictionary = ReLU(4)
    dictionary.build(3, 8, torch.Generator().manual_seed(0))
    with torch.no_grad():
        dictionary.encoder[0].bias.fill_(-100.0)
        dictionary.decoder.bias.copy_(y.mean(0))
    assert measure(dictionary, x, y) == {
        "unexplained": pytest.approx(1.0),
        "l0": 0.0,
        "dead": 1.0,
    }


def test_a_stream_of_the_same_batches_fits_the_same_dictionary():
    x, y, _ = planted(500)
    order = list(orders(500, 3, seed=4, device=torch.device("cpu")))

    def batches(epoch: int):
        for rows in order[epoch].split(64):
            yield x[rows].numpy(), y[rows].numpy()

    whole = fit(ReLU(4), x, y, epochs=3, batch_size=64, seed=2, data_seed=4, held_out=(x, y))
    streamed = fit_stream(ReLU(4), batches, epochs=3, seed=2, held_out=(x, y))
    for left, right in zip(
        whole.dictionary.parameters(), streamed.dictionary.parameters(), strict=True
    ):
        assert torch.equal(left, right)
    assert np.array_equal(whole.curves.loss, streamed.curves.loss)


def test_constant_units_are_fine_and_constant_targets_are_not_scored():
    x, y, _ = planted(100)
    x[:, 1] = 3.0
    assert math.isfinite(fit(ReLU(2), x, y, epochs=1).unexplained)
    assert math.isnan(fit(ReLU(2), x, torch.ones_like(y), epochs=1).unexplained)


def test_half_precision_recordings_are_fitted_in_single_precision():
    x, y, _ = planted(100)
    fitted = fit(ReLU(2), x.half(), y.half(), epochs=1)
    assert fitted.dictionary.directions().dtype == torch.float32


def test_more_values_than_a_float_sum_can_hold_are_still_finite():
    x = torch.full((4, 2), 3e38)
    assert torch.equal(checked(x, x)[0], x)


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (torch.zeros(5, 2), torch.zeros(4, 2), InvalidInput, "x has 5 steps and y has 4"),
        (torch.zeros(0, 2), torch.zeros(0, 2), NotEnoughData, "nothing to fit"),
        (torch.zeros(5, 0), torch.zeros(5, 2), NotEnoughData, "nothing to fit"),
        (torch.tensor([[0.0], [math.nan]]), torch.zeros(2, 1), NotFinite, "x is nan at step 1"),
        (
            torch.zeros(2, 2),
            torch.tensor([[0.0, math.inf]] * 2),
            NotFinite,
            "y is inf at .* unit 1",
        ),
    ],
)
def test_data_that_cannot_be_fitted_are_refused(x, y, error, message):
    with pytest.raises(error, match=message):
        fit(ReLU(2), x, y)


def test_a_map_is_refused_with_the_way_out():
    with pytest.raises(InvalidInput, match="one row per position"):
        checked(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3))


def test_held_out_data_of_other_widths_are_refused_before_any_work():
    x, y, _ = planted(10)
    with pytest.raises(InvalidInput, match=r"\[3, 7\] units; x and y have \[3, 8\]"):
        fit(ReLU(2), x, y, held_out=(x, y[:, 1:]))


@pytest.mark.parametrize(
    "schedule", [{"epochs": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"learning_rate": -1.0}]
)
def test_a_schedule_that_goes_nowhere_is_refused(schedule):
    x, y, _ = planted(10)
    with pytest.raises(InvalidInput, match=next(iter(schedule))):
        fit(ReLU(2), x, y, **schedule)


def test_no_features_are_refused():
    x, y, _ = planted(10)
    with pytest.raises(InvalidInput, match="width 0"):
        fit(ReLU(0), x, y)


def test_an_empty_stream_is_refused():
    with pytest.raises(NotEnoughData, match="no batch"):
        fit_stream(ReLU(2), lambda epoch: [])


def test_a_stream_that_runs_dry_is_refused_with_the_way_out():
    once = iter([(torch.zeros(4, 2), torch.zeros(4, 2))])
    with pytest.raises(NotEnoughData, match="anew"):
        fit_stream(ReLU(2), lambda epoch: once, epochs=2)


def test_a_stream_that_turns_bad_is_noticed():
    bad = torch.full((4, 2), math.nan)

    def batches(epoch: int):
        yield torch.zeros(4, 2), torch.zeros(4, 2)
        yield bad, bad

    with pytest.raises(NotFinite, match="x is nan"):
        fit_stream(ReLU(2), batches, epochs=1)


def test_a_diverging_loss_is_an_error():
    x, y, _ = planted(100)
    with pytest.raises(NotFinite, match="lower learning rate"):
        fit(ReLU(2), x, y, epochs=3, learning_rate=1e30)
