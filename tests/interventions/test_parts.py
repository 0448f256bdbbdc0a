"""Edits of a dictionary that writes to several sites: each site gets its own part of the edit.

And of one with a bypass, which is part of what is spliced in and no part of any feature.
"""

import pytest
import torch
from torch import Tensor

from policyscope.address import Site
from policyscope.agents.architectures import MLP
from policyscope.dictionaries.cross_layer import CrossLayer
from policyscope.dictionaries.skip import Skip
from policyscope.errors import InvalidInput
from policyscope.interventions.ablate import ablate
from policyscope.interventions.clamp import clamp
from policyscope.interventions.intervention import Intervention
from policyscope.interventions.scale import scale
from policyscope.interventions.splice import splice
from policyscope.interventions.steer import steer
from policyscope.testing.planted import edited_forward, layered

READS, FIRST, SECOND = (Site.parse(site) for site in ("fc2:in", "fc3:in", "fc4:in"))
WIDTH = 5


def network() -> MLP:
    torch.manual_seed(0)
    return MLP([3, 4, 6, 5, 2], "tanh")


def cross_layer() -> CrossLayer:
    dictionary = CrossLayer(WIDTH, k=3)
    dictionary.name, dictionary.reads, dictionary.writes = "both", READS, FIRST
    dictionary.writes_all, dictionary.splits = (FIRST, SECOND), (6, 5)
    dictionary.build(4, 11, torch.Generator().manual_seed(1))
    return dictionary


NETWORK, CODER = network(), cross_layer()
STATES = torch.randn(8, 3, generator=torch.Generator().manual_seed(2))


def by_hand(added: Tensor) -> Tensor:
    """The logits when the two sites gain the two parts of `added` [row, 11]."""
    h = torch.tanh(NETWORK.get_submodule("fc1")(STATES))
    first = torch.tanh(NETWORK.get_submodule("fc2")(h)) + added[:, :6]
    second = torch.tanh(NETWORK.get_submodule("fc3")(first)) + added[:, 6:]
    return NETWORK.get_submodule("fc4")(second)


def codes() -> Tensor:
    return CODER.encode(torch.tanh(NETWORK.get_submodule("fc1")(STATES)))


@torch.no_grad()
def edits(feature: int) -> list[tuple[Intervention, Tensor]]:
    """Each edit, and what the two sites gain by it."""
    code, direction = codes()[:, feature, None], CODER.direction(feature)
    other = torch.linspace(-1, 1, 11)
    return [
        (clamp(CODER[feature], 0.7), (0.7 - code) * direction),
        (scale(CODER[feature], 3.0), 2 * code * direction),
        (ablate(CODER[feature]), -code * direction),
        (ablate(CODER[feature], 0.2), (0.2 - code) * direction),
        (steer(CODER[feature], -1.5), -1.5 * direction.expand(8, 11)),
        (steer(CODER[feature], 2.0, other), 2 * other.expand(8, 11)),
    ]


@pytest.mark.parametrize("number", range(6))
def test_an_edit_at_two_sites_is_what_one_computes_by_hand(number: int) -> None:
    feature = int(codes().sum(0).argmax())
    edit, added = edits(feature)[number]
    assert edit.sites == ((FIRST, READS, SECOND) if number < 4 else (FIRST, SECOND))
    edited, _ = edited_forward(NETWORK, [edit], STATES, [0] * 8)
    with torch.no_grad():
        torch.testing.assert_close(edited, by_hand(added))
        assert not torch.allclose(edited, NETWORK(STATES))


def test_conditions_of_a_batch_each_get_their_own_edit() -> None:
    each = edits(int(codes().sum(0).argmax()))
    conditions = [Intervention(), *(edit for edit, _ in each)]
    condition = [0, 1, 2, 3, 4, 5, 6, 0]
    edited, _ = edited_forward(NETWORK, conditions, STATES, condition)
    with torch.no_grad():
        nothing = torch.zeros(8, 11)
        expected = [by_hand(added) for added in (nothing, *(added for _, added in each))]
    for row, which in enumerate(condition):
        torch.testing.assert_close(edited[row], expected[which][row])


def test_edits_of_several_features_add_up() -> None:
    with torch.no_grad():
        added = sum((v - codes()[:, f, None]) * CODER.direction(f) for f, v in ((0, 1.0), (3, 0.5)))
        assert isinstance(added, Tensor)
        expected = by_hand(added)
    edit = clamp(CODER[0], 1.0) + clamp(CODER[3], 0.5)
    edited, _ = edited_forward(NETWORK, [edit], STATES, [0] * 8)
    torch.testing.assert_close(edited, expected)


def test_a_splice_puts_its_part_at_each_site() -> None:
    _, values = edited_forward(
        NETWORK, [splice(CODER)], STATES, [0] * 8, reads=["fc3:in", "fc4:in"]
    )
    with torch.no_grad():
        expected = CODER(torch.tanh(NETWORK.get_submodule("fc1")(STATES)))
    torch.testing.assert_close(torch.cat([values["fc3:in"], values["fc4:in"]], 1), expected)


def test_a_perfect_one_spliced_in_changes_nothing() -> None:
    """relu(W h) at the first site, and M relu(W h) at the second, M without a negative entry."""
    read = [[1.0, 0], [-1.0, 0.5], [0.5, 1.0]]
    passed_on = [[0.5, 0.25, 1.0], [2.0, 0.0, 0.5]]
    plain = layered(
        ([[1.0, 0.5], [0.5, -1.0]], [0.0, 1.0]),
        (read, [0.0] * 3),
        (passed_on, [0.0] * 2),
        ([[1.0, -1.0], [0.5, 2.0]], [0.0, 0.0]),
    )
    perfect = CrossLayer(3, k=3)
    perfect.reads, perfect.writes = READS, FIRST
    perfect.writes_all, perfect.splits = (FIRST, SECOND), (3, 2)
    perfect.build(2, 5, torch.Generator().manual_seed(0))
    with torch.no_grad():
        perfect.encoder.copy_(torch.tensor(read))
        perfect.decoder.copy_(torch.cat([torch.eye(3), torch.tensor(passed_on).T], 1))
    x = torch.randint(-4, 5, (16, 2), generator=torch.Generator().manual_seed(0)) / 4
    edited, _ = edited_forward(plain, [splice(perfect)], x, [0] * 16)
    with torch.no_grad():
        assert torch.equal(edited, plain(x))
        assert (plain(x) != 0).any()


def test_a_direction_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"both#0 writes 2 sites of \[6, 5\] units"):
        steer(CODER[0], 1.0, torch.ones(6))


def test_what_goes_past_the_features_is_spliced_in_and_left_alone_by_edits() -> None:
    dictionary = Skip(4, k=2)
    dictionary.reads, dictionary.writes = READS, FIRST
    dictionary.build(4, 6, torch.Generator().manual_seed(0))
    with torch.no_grad():
        dictionary.skip.normal_(generator=torch.Generator().manual_seed(1))
        h = torch.tanh(NETWORK.get_submodule("fc1")(STATES))
        after = torch.tanh(NETWORK.get_submodule("fc2")(h))
        z = dictionary.encode(h)
        change = (0.5 - z[:, 1, None]) * dictionary.direction(1)
    _, spliced = edited_forward(NETWORK, [splice(dictionary)], STATES, [0] * 8, reads=["fc3:in"])
    with torch.no_grad():
        torch.testing.assert_close(spliced["fc3:in"], dictionary.decode(z) + h @ dictionary.skip.T)
    _, clamped = edited_forward(
        NETWORK, [clamp(dictionary[1], 0.5)], STATES, [0] * 8, reads=["fc3:in"]
    )
    torch.testing.assert_close(clamped["fc3:in"], after + change)
