"""Sparse dictionaries: one kind per file, one contract."""

from policyscope.dictionaries.dictionary import DICTIONARIES, Dictionary
from policyscope.dictionaries.family import fit_family
from policyscope.dictionaries.feature import Feature
from policyscope.dictionaries.file import export_source, load, save
from policyscope.dictionaries.fit import Curves, Fitted, fit, fit_stream
from policyscope.dictionaries.relu import ReLU

__all__ = [
    "DICTIONARIES",
    "Curves",
    "Dictionary",
    "Feature",
    "Fitted",
    "ReLU",
    "export_source",
    "fit",
    "fit_family",
    "fit_stream",
    "load",
    "save",
]
