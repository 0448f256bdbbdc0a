"""CrossLayer keeps the contract, and its parts are dictionaries that share features."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch

from policyscope.address import Site
from policyscope.dictionaries.cross_layer import CrossLayer
from policyscope.dictionaries.dictionary import kind_of
from policyscope.dictionaries.file import load, save
from policyscope.dictionaries.fit import fit
from policyscope.dictionaries.topk import TopK
from policyscope.errors import InvalidInput
from policyscope.testing.dictionaries import DictionaryContract, same_parameters
from policyscope.testing.planted import planted_directions

SITES = (Site.parse("fc2:in"), Site.parse("fc3:in"))


class TestCrossLayer(DictionaryContract):
    def make(self) -> CrossLayer:
        return CrossLayer(width=6, k=2)


class TestCrossLayerOfTwoSites(DictionaryContract):
    d_in, d_out = 4, 5

    def make(self) -> CrossLayer:
        return placed(CrossLayer(width=8, k=3))


def placed(dictionary: CrossLayer, *splits: int) -> CrossLayer:
    dictionary.name, dictionary.reads = "both", Site.parse("fc1:in")
    dictionary.writes, dictionary.writes_all = SITES[0], SITES
    dictionary.splits = splits or (2, 3)
    return dictionary


def built() -> CrossLayer:
    dictionary = placed(CrossLayer(width=8, k=3))
    dictionary.build(4, 5, torch.Generator().manual_seed(0))
    return dictionary


def test_its_parts_are_the_whole_site_by_site():
    dictionary = built()
    x = torch.randn(9, 4, generator=torch.Generator().manual_seed(1))
    first, second = dictionary.parts
    assert (first.reads, first.writes, first.d_out) == (Site.parse("fc1:in"), SITES[0], 2)
    assert (second.name, second.writes, second.d_out) == ("both", SITES[1], 3)
    assert torch.equal(first.encode(x), dictionary.encode(x))
    torch.testing.assert_close(torch.cat([first(x), second(x)], 1), dictionary(x))
    joined = torch.cat([first.directions(), second.directions()], 1)
    assert torch.equal(joined, dictionary.directions())
    torch.testing.assert_close(joined.norm(dim=1), torch.ones(8))
    whole = torch.cat([part.direction for part in dictionary[2].parts])
    assert torch.equal(whole, dictionary.direction(2))


def test_parts_are_the_same_objects_each_time_and_follow_the_whole():
    dictionary = built()
    before = dictionary.parts
    dictionary.name = "renamed"
    assert all(a is b for a, b in zip(before, dictionary.parts, strict=True))
    assert before[1].name == "renamed"
    with torch.no_grad():
        dictionary.decoder.zero_()
    assert not before[1].directions().any()
    assert {id(p) for p in before[0].parameters()} == {id(p) for p in dictionary.parameters()}
    assert len(list(dictionary.parameters())) == 4


def test_a_dictionary_of_one_site_is_its_own_part():
    dictionary = TopK(3, k=1)
    assert dictionary.parts == (dictionary,)
    assert CrossLayer(3, k=1).parts[0].width == 3


def test_copies_have_parts_of_their_own():
    dictionary = built()
    assert dictionary.parts
    copy = deepcopy(dictionary)
    with torch.no_grad():
        copy.decoder.zero_()
    assert not copy.parts[0].directions().any()
    assert dictionary.parts[0].directions().any()
    assert [part.writes for part in copy.parts] == list(SITES)


def test_sites_and_units_are_saved_and_loaded(tmp_path: Path):
    dictionary = built()
    save(dictionary, tmp_path / "both")
    loaded = load(tmp_path / "both")
    assert isinstance(loaded, CrossLayer)
    assert (loaded.writes_all, loaded.splits) == (SITES, (2, 3))
    assert same_parameters(loaded, dictionary)
    assert [part.writes for part in loaded.parts] == list(SITES)


def test_a_part_can_be_neither_built_nor_fitted_nor_saved(tmp_path: Path):
    part = built().parts[0]
    x = torch.zeros(4, 4)
    with pytest.raises(InvalidInput, match="made with the whole"):
        part.build(4, 2, torch.Generator())
    with pytest.raises(InvalidInput, match="made with the whole"):
        fit(part, x, x[:, :2])
    with pytest.raises(InvalidInput, match="fitted with the whole"):
        part.loss(x, x[:, :2])
    with pytest.raises(InvalidInput, match="no name to be saved under"):
        kind_of(part)


def test_scalings_of_sites_fold_into_the_weights():
    dictionary = built()
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(200, 4, generator=generator), torch.randn(200, 5, generator=generator)
    x, y = x * 3 + 5, y * torch.tensor([10.0, 20.0, 0.1, 0.1, 0.2]) - 2
    scaling = dictionary.scaling(x, y)
    scaled_x, scaled_y = scaling.apply(x, y)
    for site in scaled_y.split([2, 3], 1):
        assert float(site.square().mean()) == pytest.approx(1, rel=1e-5)
    codes, scaled = dictionary.decompose(scaled_x)
    dictionary.rescale(scaling)
    raw_codes, raw = dictionary.decompose(x)
    torch.testing.assert_close(raw_codes, codes * scaling.y_scale)
    torch.testing.assert_close(raw, scaled * scaling.y_units + scaling.y_mean)


def test_a_fit_explains_every_site_however_small_its_activations_are():
    """The second site is a thousandth of the first, and shares its features."""
    generator = torch.Generator().manual_seed(0)
    readings = planted_directions(16, 8, seed=1)
    x = torch.randn(6000, 8, generator=generator)
    codes = (x @ readings.T - 1).relu()
    writes = planted_directions(16, 20, seed=2)
    y = torch.cat([codes @ writes[:, :12], 1e-3 * codes @ writes[:, 12:]], 1)
    wanted = placed(CrossLayer(16, k=5), 12, 8)
    schedule = CrossLayer.schedule.changed(epochs=15, batch_size=256, learning_rate=1e-2)
    found = fit(wanted, x, y, schedule=schedule).dictionary
    assert isinstance(found, CrossLayer)
    assert [part.writes for part in found.parts] == list(SITES)
    for part, target in zip(found.parts, y.split([12, 8], 1), strict=True):
        with torch.no_grad():
            left = (part(x) - target).square().sum() / (target - target.mean(0)).square().sum()
        assert float(left) < 0.15


@pytest.mark.parametrize(
    ("splits", "message"),
    [((2, 2), "4 together; y has 5"), ((5,), "2 written sites"), ((5, 0), "give each")],
)
def test_sites_and_units_that_do_not_fit_are_refused(splits: tuple[int, ...], message: str):
    with pytest.raises(InvalidInput, match=message):
        placed(CrossLayer(8, k=2), *splits).build(4, 5, torch.Generator())


def test_it_cannot_write_where_it_reads():
    dictionary = placed(CrossLayer(8, k=2))
    dictionary.reads = SITES[1]
    with pytest.raises(InvalidInput, match="cannot write 'fc3:in', which it reads"):
        dictionary.build(4, 5, torch.Generator())
