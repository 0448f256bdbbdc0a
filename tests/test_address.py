"""Addresses: parsing undoes printing, and what is no address is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policyscope.address import FeatureAddress, Moment, Site, UnitAddress, check_name
from policyscope.errors import InvalidInput

numbers = st.integers(0, 10**12)
optional = st.none() | numbers
paths = st.just("") | st.from_regex(r"[^:#\[\]@\s]+", fullmatch=True).filter(lambda p: p != ".")
names = st.from_regex(r"[a-zA-Z0-9_][\w.+-]{0,5}(/[a-z0-9][\w.+-]{0,5}){0,2}", fullmatch=True)
sites = st.builds(Site, paths, st.sampled_from(["in", "out"]), optional, optional)
units = st.builds(UnitAddress, sites, numbers, st.none() | st.tuples(numbers, numbers))
features = st.builds(FeatureAddress, names, numbers)
moments = st.builds(Moment, names, numbers, numbers)


@given(address=sites | units | features | moments)
def test_parsing_undoes_printing(address):
    assert type(address).parse(str(address)) == address


@given(name=names, inner=numbers, episode=numbers, step=numbers)
def test_a_recording_may_be_named_like_an_episode(name, inner, episode, step):
    moment = Moment(f"{name}/ep{inner}", episode, step)
    assert Moment.parse(str(moment)) == moment


@pytest.mark.parametrize(
    ("text", "site"),
    [
        ("fc2", Site("fc2", "out")),
        ("fc2:in", Site("fc2", "in")),
        ("lstm:out.0", Site("lstm", "out", index=0)),
        ("core[1]:out", Site("core", "out", call=1)),
        ("core[1]", Site("core", "out", call=1)),
        ("actor.0.net:in.2", Site("actor.0.net", "in", index=2)),
        (".", Site("")),
        (".:in", Site("", "in")),
    ],
)
def test_the_forms_of_a_site(text, site):
    assert Site.parse(text) == site


def test_examples_of_the_grammar():
    assert str(Site("fc2")) == "fc2:out"
    assert str(Site("")) == ".:out"
    assert Site.parse(Site("fc2", "in")) == Site("fc2", "in")
    assert UnitAddress.parse("conv3#95") == UnitAddress(Site("conv3"), 95)
    assert str(UnitAddress(Site("conv3"), 95, (4, 7))) == "conv3:out#95[4,7]"
    assert FeatureAddress.parse("layer2/topk256#17") == FeatureAddress("layer2/topk256", 17)
    assert Moment.parse("main/ep12@340") == Moment("main", 12, 340)


@pytest.mark.parametrize(
    "text",
    ["", " ", "fc2:", "fc2:up", "fc2:in.", "fc2:in.x", "fc2[1", "fc2[-1]", "a b", "fc2#3", "fc2\n"],
)
def test_what_is_no_site(text):
    with pytest.raises(InvalidInput, match=r"is not a site\. Write path"):
        Site.parse(text)


@pytest.mark.parametrize("text", ["conv3", "conv3#", "conv3#x", "conv3#1[2]", "#1", "conv3#1\n"])
def test_what_is_no_unit(text):
    with pytest.raises(InvalidInput, match=r"is not a unit\. Write site#unit"):
        UnitAddress.parse(text)


@pytest.mark.parametrize("text", ["k4", "k4#", "k4#-1", "#2", "k4#2#3", "k4#2\n"])
def test_what_is_no_feature(text):
    with pytest.raises(InvalidInput, match=r"is not a feature\. Write dictionary#index"):
        FeatureAddress.parse(text)


@pytest.mark.parametrize("text", ["main", "main/ep1", "main@3", "/ep1@2", "main/ep1@2\n"])
def test_what_is_no_moment(text):
    with pytest.raises(InvalidInput, match=r"is not a moment\. Write recording/ep"):
        Moment.parse(text)


@pytest.mark.parametrize(
    "name", ["..", "../up", "a//b", "/a", "a/", ".hidden", "a b", "a#b", "a\n", ""]
)
def test_names_that_would_leave_their_folder_or_break_a_url(name):
    with pytest.raises(InvalidInput, match="cannot name a recording"):
        check_name("recording", name)
    with pytest.raises(InvalidInput):
        FeatureAddress.parse(f"{name}#1")
    with pytest.raises(InvalidInput):
        Moment.parse(f"{name}/ep1@1")


def test_addresses_are_values():
    assert len({Site.parse("fc2"), Site.parse("fc2:out"), Site("fc2")}) == 1
