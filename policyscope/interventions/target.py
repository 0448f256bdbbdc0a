"""What an edit aims at: a feature of a dictionary, a unit of a site, or a whole site."""

from typing import Protocol, runtime_checkable

from policyscope.address import Site, UnitAddress
from policyscope.dictionaries.feature import Feature, Owner
from policyscope.errors import InvalidInput


@runtime_checkable
class HasFeature(Protocol):
    """Evidence about a feature, which can stand for the feature itself."""

    feature: Feature


Target = Feature | HasFeature | UnitAddress | Site | str


def resolve(target: Target) -> Feature | UnitAddress | Site:
    """The feature, unit or site that `target` is or names."""
    if isinstance(target, Feature | UnitAddress | Site):
        return target
    if isinstance(target, str):
        return UnitAddress.parse(target) if "#" in target else Site.parse(target)
    if isinstance(target, HasFeature):
        return target.feature
    raise InvalidInput(
        f"Cannot edit {target!r}. Give a feature (dictionary[3]), a unit ('fc2:in#5') "
        "or a site ('fc2:in')."
    )


def reads_of(dictionary: Owner) -> Site:
    """Where the dictionary reads; InvalidInput when it was never given a place in a network."""
    return _placed(dictionary, dictionary.reads)


def writes_of(dictionary: Owner) -> Site:
    """Where the dictionary writes; InvalidInput when it was never given a place in a network."""
    return _placed(dictionary, dictionary.writes)


def _placed(dictionary: Owner, site: Site | None) -> Site:
    if site is None:
        raise InvalidInput(
            f"Dictionary {dictionary.name or 'without a name'} has no place in a network yet. "
            "Set its reads and writes sites, or fit it through a study."
        )
    return site
