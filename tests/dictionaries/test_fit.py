"""Fitting recovers planted features, shows honest curves, and refuses what cannot be fitted."""

import math

import numpy as np
import pytest
import torch

from policyscope.dictionaries.checkpoint import Checkpoint
from policyscope.dictionaries.curves import measure
from policyscope.dictionaries.fit import fit, fit_source
from policyscope.dictionaries.relu import ReLU
from policyscope.dictionaries.schedule import Schedule
from policyscope.dictionaries.source import InMemory, checked
from policyscope.dictionaries.topk import TopK
from policyscope.errors import CorruptFile, InvalidInput, NotEnoughData, NotFinite


def planted(steps: int = 2000, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(x, y, directions): y is made of three features, each the positive part of one unit of x."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(steps, 3, generator=generator)
    directions = torch.nn.functional.normalize(torch.randn(3, 8, generator=generator), dim=1)
    return x, x.relu() @ directions, directions


def test_planted_features_are_recovered():
    x, y, directions = planted()
    # Twice as wide as the truth; the penalty makes one feature do for one direction.
    fitted = fit(
        ReLU(6, penalty=0.05), x, y, schedule=Schedule(epochs=40, batch_size=64, learning_rate=1e-2)
    )
    assert fitted.unexplained < 0.001
    found = torch.nn.functional.normalize(fitted.dictionary.directions(), dim=1)
    assert (directions @ found.T).amax(1).min() > 0.999


def test_the_template_is_left_as_it_is_and_facts_are_kept():
    x, y, _ = planted(100)
    template = ReLU(2)
    template.name = "layer1/k2"
    fitted = fit(template, x, y, schedule=Schedule(epochs=1))
    assert not template.is_built
    assert fitted.dictionary.name == "layer1/k2"
    assert (fitted.dictionary.d_in, fitted.dictionary.d_out) == (3, 8)


def test_curves_are_what_they_say():
    x, y, _ = planted(300)
    # One batch is the whole data and the rate is next to nothing: the curves are of the start.
    fitted = fit(
        ReLU(4, penalty=0.5), x, y, schedule=Schedule(epochs=2, batch_size=300, learning_rate=1e-12)
    )
    with torch.no_grad():
        said = fitted.dictionary.loss(x, y)
    loss, parts = said.total, said.parts
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
    fitted = fit(ReLU(4), x, y, held_out=other, schedule=Schedule(epochs=1))
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


class Streamed:
    """The pairs of another source, handed on one by one."""

    def __init__(self, x: torch.Tensor, y: torch.Tensor, data_seed: int = 0) -> None:
        self.source = InMemory(x, y, data_seed)
        self.count = len(x)

    def batches(self, epoch: int, batch_size: int):
        for pair in self.source.batches(epoch, batch_size):
            yield tuple(side.numpy() for side in pair)

    def sample(self, count: int):
        return self.source.sample(count)


def test_a_stream_of_the_same_batches_fits_the_same_dictionary():
    x, y, _ = planted(500)
    schedule = Schedule(epochs=3, batch_size=64)
    for kind in (ReLU(4), TopK(6, k=2)):
        whole = fit(kind, x, y, seed=2, data_seed=4, held_out=(x, y), schedule=schedule)
        stream = Streamed(x, y, data_seed=4)
        streamed = fit_source(kind, stream, seed=2, held_out=(x, y), schedule=schedule)
        assert_same(whole, streamed)


def assert_same(left, right) -> None:
    first, second = left.dictionary.state_dict(), right.dictionary.state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    for name, curve in left.curves.columns().items():
        assert np.array_equal(curve, right.curves.columns()[name]), name


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("after", [1, 7, 8, 9, 20])
@pytest.mark.parametrize("kind", [ReLU(4), TopK(6, k=2)])
def test_a_fit_that_was_killed_goes_on_to_the_same_weights(kind, after, tmp_path):
    x, y, _ = planted(500)
    schedule = kind.schedule.changed(epochs=3, batch_size=64)  # 8 batches a pass
    whole = fit(kind, x, y, seed=2, schedule=schedule)

    class Dying(Streamed):
        left = after

        def batches(self, epoch: int, batch_size: int):
            for pair in super().batches(epoch, batch_size):
                if self.left == 0:
                    raise Killed
                self.left -= 1
                yield pair

    path = tmp_path / "fit.safetensors"
    with pytest.raises(Killed):
        fit_source(kind, Dying(x, y), seed=2, schedule=schedule, checkpoint=Checkpoint(path, 0.0))
    assert path.exists()
    again = Checkpoint(path, 0.0, resume=True)
    resumed = fit_source(kind, Streamed(x, y), seed=2, schedule=schedule, checkpoint=again)
    assert_same(whole, resumed)
    # It stays until the result is safe; there is nothing left to do then.
    done = fit_source(kind, Streamed(x, y), seed=2, schedule=schedule, checkpoint=again)
    assert_same(whole, done)
    again.forget()
    assert not path.exists()


def test_a_checkpoint_of_another_fit_is_refused(tmp_path):
    x, y, _ = planted(100)
    path = tmp_path / "fit.safetensors"

    class Dying(Streamed):
        def batches(self, epoch: int, batch_size: int):
            yield next(iter(super().batches(epoch, batch_size)))
            raise Killed

    with pytest.raises(Killed):
        fit_source(TopK(6, k=2), Dying(x, y), checkpoint=Checkpoint(path, 0.0))
    resume = Checkpoint(path, resume=True)
    with pytest.raises(InvalidInput, match=r"another fit: choices .*'k': 2.* now .*'k': 3"):
        fit_source(TopK(6, k=3), Streamed(x, y), checkpoint=resume)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(CorruptFile, match="not a checkpoint"):
        fit_source(TopK(6, k=2), Streamed(x, y), checkpoint=resume)


def test_scaling_is_folded_into_the_weights():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2000, 6, generator=generator) * 7 + 100
    schedule = Schedule(epochs=8, batch_size=100, learning_rate=3e-3, clip=1.0, scale=True)
    fitted = fit(TopK(24, k=4), x, x, schedule=schedule)
    assert fitted.unexplained < 0.2
    # The curve was measured on scaled data, this is on raw ones.
    raw = measure(fitted.dictionary, x, x)["unexplained"]
    assert raw == pytest.approx(
        measure(fitted.dictionary, *InMemory(x, x).sample(4096))["unexplained"]
    )
    assert raw == pytest.approx(fitted.unexplained, rel=1e-3)
    norms = fitted.dictionary.directions().norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(24))


def test_constant_units_are_fine_and_constant_targets_are_not_scored():
    x, y, _ = planted(100)
    x[:, 1] = 3.0
    assert math.isfinite(fit(ReLU(2), x, y, schedule=Schedule(epochs=1)).unexplained)
    assert math.isnan(fit(ReLU(2), x, torch.ones_like(y), schedule=Schedule(epochs=1)).unexplained)


def test_half_precision_recordings_are_fitted_in_single_precision():
    x, y, _ = planted(100)
    fitted = fit(ReLU(2), x.half(), y.half(), schedule=Schedule(epochs=1))
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
    "part",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"learning_rate": -1.0},
        {"warm_up": 1.5},
        {"clip": 0.0},
    ],
)
def test_a_schedule_that_goes_nowhere_is_refused(part):
    x, y, _ = planted(10)
    with pytest.raises(InvalidInput, match=next(iter(part))):
        fit(ReLU(2), x, y, schedule=Schedule(**part))


def test_no_features_are_refused():
    x, y, _ = planted(10)
    with pytest.raises(InvalidInput, match="width 0"):
        fit(ReLU(0), x, y)


def test_a_source_that_turns_bad_or_dry_is_noticed():
    class Bad(Streamed):
        def batches(self, epoch: int, batch_size: int):
            yield torch.zeros(4, 3), torch.zeros(4, 8)
            yield torch.full((4, 3), math.nan), torch.zeros(4, 8)

    class Dry(Streamed):
        def batches(self, epoch: int, batch_size: int):
            yield from super().batches(epoch, batch_size) if epoch == 0 else ()

    x, y, _ = planted(10)
    with pytest.raises(NotFinite, match="x is nan"):
        fit_source(ReLU(2), Bad(x, y))
    with pytest.raises(NotEnoughData, match="no batch in epoch 2"):
        fit_source(ReLU(2), Dry(x, y))


def test_a_diverging_loss_is_an_error():
    x, y, _ = planted(100)
    with pytest.raises(NotFinite, match="lower learning rate"):
        fit(ReLU(2), x, y, schedule=Schedule(epochs=3, learning_rate=1e30))
