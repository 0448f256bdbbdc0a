"""What a dictionary says about itself, and what it refuses."""

import pytest
import torch

from policyscope.address import Site
from policyscope.dictionaries.dictionary import DICTIONARIES, kind_of
from policyscope.dictionaries.feature import Owner
from policyscope.dictionaries.relu import ReLU
from policyscope.errors import InvalidInput, UnknownName


def built(width: int = 4) -> ReLU:
    dictionary = ReLU(width)
    dictionary.build(3, 2, torch.Generator().manual_seed(0))
    return dictionary


def test_it_introduces_itself():
    dictionary = built()
    dictionary.name = "layer1/k4"
    dictionary.reads, dictionary.writes = Site.parse("fc1:in"), Site.parse("fc2:in")
    assert repr(dictionary) == "ReLU(width=4, penalty=1e-05)"
    assert str(dictionary) == "layer1/k4 · ReLU(width=4, penalty=1e-05) · fc1:in (3) → fc2:in (2)"
    assert repr(dictionary[3]) == "Feature(layer1/k4#3)"
    assert str(ReLU(2)) == "ReLU(width=2, penalty=1e-05)"


def test_it_has_the_features_it_has():
    dictionary = built()
    assert len(dictionary) == 4
    with pytest.raises(UnknownName, match=r"No feature 4 .* 4 features, 0 to 3"):
        dictionary[4]
    with pytest.raises(UnknownName, match="No feature -1"):
        dictionary.direction(-1)


def test_it_can_own_features():
    assert isinstance(built(), Owner)


@pytest.mark.parametrize(("width", "d_in", "d_out"), [(0, 3, 2), (4, 0, 2), (4, 3, 0), (-1, 3, 2)])
def test_nothing_is_built_of_no_size(width: int, d_in: int, d_out: int):
    with pytest.raises(InvalidInput, match="give at least 1"):
        ReLU(width).build(d_in, d_out, torch.Generator())


def test_unbuilt_keeps_choices_and_facts_but_no_parameters():
    dictionary = built()
    dictionary.name, dictionary.reads = "layer1/k4", Site.parse("fc1:in")
    copy = dictionary.unbuilt()
    assert copy.choices() == dictionary.choices()
    assert (copy.name, copy.reads) == (dictionary.name, dictionary.reads)
    assert not copy.is_built
    assert list(copy.parameters()) == []
    assert dictionary.is_built


def test_a_kind_goes_by_its_registered_name():
    assert kind_of(built()) == "relu"
    with pytest.raises(UnknownName, match="Did you mean 'relu'"):
        DICTIONARIES.get("rellu")


def test_an_unregistered_kind_says_what_to_do():
    class Own(ReLU):
        pass

    with pytest.raises(InvalidInput, match="register"):
        kind_of(Own(2))
