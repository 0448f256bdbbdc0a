"""Laws of every edit: strength zero is nothing, rows are independent, different sites commute."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from policyscope.address import Site
from policyscope.agents.architectures import MLP
from policyscope.dictionaries.relu import ReLU
from policyscope.interventions.ablate import ablate
from policyscope.interventions.clamp import clamp
from policyscope.interventions.intervention import Intervention
from policyscope.interventions.patch import patch
from policyscope.interventions.scale import scale
from policyscope.interventions.splice import splice
from policyscope.interventions.steer import steer
from policyscope.testing.planted import edited_forward, perfect_dictionary

UNITS, FEATURES = 6, 4
SEEDS = st.integers(0, 2**16)
STRENGTHS = st.floats(-4, 4, allow_nan=False, width=32)
few = settings(max_examples=25)


def network() -> MLP:
    torch.manual_seed(0)
    return MLP([3, UNITS, UNITS, 2], "tanh")


def fitted(reads: str, writes: str, seed: int = 0) -> ReLU:
    dictionary = ReLU(FEATURES)
    dictionary.build(UNITS, UNITS, torch.Generator().manual_seed(seed))
    dictionary.name = f"d{seed}"
    dictionary.reads, dictionary.writes = Site.parse(reads), Site.parse(writes)
    return dictionary


NETWORK = network()
CODER = fitted("fc2:in", "fc2:in")
TRANSCODER = fitted("fc2:in", "fc3:in", seed=1)

Make = Callable[[float], Intervention]
EDITS: dict[str, Make] = {
    "steer a direction": lambda a: steer("fc2:in", a, torch.linspace(-1, 1, UNITS)),
    "steer a feature": lambda a: steer(CODER[1], a),
    "steer a transcoder": lambda a: steer(TRANSCODER[1], a),
    "clamp a feature": lambda a: clamp(CODER[0], a),
    "clamp a transcoder": lambda a: clamp(TRANSCODER[0], a),
    "clamp a unit": lambda a: clamp("fc2:in#3", a),
    "scale a feature": lambda a: scale(CODER[2], a),
    "scale a unit": lambda a: scale("fc3:in#2", a),
    "ablate a feature": lambda a: ablate(CODER[3]),
    "mean-ablate a unit": lambda a: ablate("fc3:in#1", a),
    "ablate a site": lambda a: ablate("fc2:in", torch.full((UNITS,), a)),
    "patch": lambda a: patch("fc3:in", torch.full((UNITS,), a)),
    "splice": lambda a: splice(CODER),
    "splice a transcoder": lambda a: splice(TRANSCODER),
}
NAMES = st.sampled_from(sorted(EDITS))


def states(seed: int, rows: int) -> Tensor:
    return torch.randn(rows, 3, generator=torch.Generator().manual_seed(seed))


def same_bits(left: Tensor, right: Tensor) -> bool:
    return left.numpy().tobytes() == right.numpy().tobytes()


@few
@given(SEEDS)
def test_the_empty_intervention_is_bit_identical_to_none(seed: int) -> None:
    x = states(seed, 5)
    with torch.no_grad():
        plain = NETWORK(x)
    edited, _ = edited_forward(NETWORK, [Intervention()], x, [0] * 5)
    assert same_bits(edited, plain)


@pytest.mark.parametrize(
    "nothing",
    [
        steer("fc2:in", 0.0, torch.ones(UNITS)),
        steer(CODER[0], 0.0),
        steer(TRANSCODER[0], -0.0),
        scale(CODER[1], 1.0),
        scale("fc2:in#1", 1.0),
    ],
    ids=str,
)
def test_strength_zero_and_factor_one_are_bit_identical_to_none(nothing: Intervention) -> None:
    x = states(0, 5)
    edited, _ = edited_forward(NETWORK, [nothing], x, [0] * 5)
    with torch.no_grad():
        assert same_bits(edited, NETWORK(x))


@few
@given(NAMES, STRENGTHS, SEEDS, st.integers(0, 4))
def test_an_edit_of_one_row_leaves_the_others_bit_identical(
    name: str, strength: float, seed: int, row: int
) -> None:
    x = states(seed, 5)
    condition = [0] * 5
    condition[row] = 1
    edited, _ = edited_forward(NETWORK, [Intervention(), EDITS[name](strength)], x, condition)
    with torch.no_grad():
        plain = NETWORK(x)
    others = [other for other in range(5) if other != row]
    assert same_bits(edited[others], plain[others])


@few
@given(st.lists(st.tuples(NAMES, STRENGTHS), min_size=1, max_size=6), SEEDS)
def test_conditions_of_a_batch_equal_separate_runs(
    edits: list[tuple[str, float]], seed: int
) -> None:
    conditions = [EDITS[name](strength) for name, strength in edits]
    x = states(seed, len(conditions))
    together, _ = edited_forward(NETWORK, conditions, x)
    for row, condition in enumerate(conditions):
        alone, _ = edited_forward(NETWORK, [condition], x, [0] * len(x))
        torch.testing.assert_close(together[row], alone[row], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda a: steer("fc2:in", a, torch.ones(UNITS)),
        lambda a: clamp(CODER[1], a),
        lambda a: clamp("fc2:in#3", a),
        lambda a: scale(CODER[1], a),
        lambda a: scale("fc2:in#3", a),
    ],
)
@few
@given(strengths=st.lists(STRENGTHS, min_size=1, max_size=5), seed=SEEDS)
def test_per_row_parameters_equal_separate_runs(
    make: Callable[[object], Intervention], strengths: list[float], seed: int
) -> None:
    x = states(seed, len(strengths))
    together, _ = edited_forward(NETWORK, make(strengths).split(), x)
    for row, strength in enumerate(strengths):
        alone, _ = edited_forward(NETWORK, [make(strength)], x, [0] * len(x))
        assert same_bits(together[row], alone[row])


@few
@given(NAMES, NAMES, STRENGTHS, SEEDS)
def test_two_edits_at_different_sites_commute(
    first: str, second: str, strength: float, seed: int
) -> None:
    one, two = EDITS[first](strength), EDITS[second](-strength)
    if {edit.site for edit in one.edits} & {edit.site for edit in two.edits}:
        return
    x = states(seed, 4)
    forwards, _ = edited_forward(NETWORK, [one + two], x, [0] * 4)
    backwards, _ = edited_forward(NETWORK, [two + one], x, [0] * 4)
    assert same_bits(forwards, backwards)


@few
@given(STRENGTHS, STRENGTHS, SEEDS)
def test_edits_at_one_site_are_made_in_their_order(a: float, b: float, seed: int) -> None:
    x = states(seed, 3)
    both = clamp("fc2:in#0", a) + clamp("fc2:in#0", b)
    edited, _ = edited_forward(NETWORK, [both], x, [0] * 3)
    last, _ = edited_forward(NETWORK, [clamp("fc2:in#0", b)], x, [0] * 3)
    assert same_bits(edited, last)


@few
@given(SEEDS)
def test_a_perfect_dictionary_spliced_in_changes_nothing(seed: int) -> None:
    x = states(seed, 4)
    edited, _ = edited_forward(NETWORK, [splice(perfect_dictionary(UNITS))], x, [0] * 4)
    with torch.no_grad():
        np.testing.assert_array_equal(edited.numpy(), NETWORK(x).numpy())


@few
@given(st.sampled_from(["clamp", "scale", "ablate"]), STRENGTHS, SEEDS)
def test_feature_edits_preserve_the_reconstruction_error(
    verb: str, strength: float, seed: int
) -> None:
    """The activation gains exactly what the edited code says more: decode(z′) − decode(z)."""
    x = states(seed, 4)
    feature = CODER[2]
    make = {"clamp": clamp(feature, strength), "scale": scale(feature, strength)}
    edit = make.get(verb, ablate(feature))
    _, before = edited_forward(NETWORK, [Intervention()], x, [0] * 4, reads=["fc2:in"])
    _, after = edited_forward(NETWORK, [edit], x, [0] * 4, reads=["fc2:in"])
    with torch.no_grad():
        z = CODER.encode(before["fc2:in"])
        wanted = z.clone()
        wanted[:, 2] = {"clamp": torch.full((4,), strength), "scale": z[:, 2] * strength}.get(
            verb, torch.zeros(4)
        )
        error = before["fc2:in"] - CODER.decode(z)
        torch.testing.assert_close(after["fc2:in"] - CODER.decode(wanted), error)
