"""Sparse dictionaries: one kind per file, one contract."""

from policyscope.dictionaries.curves import Curves
from policyscope.dictionaries.dictionary import DICTIONARIES, Dictionary
from policyscope.dictionaries.family import fit_family
from policyscope.dictionaries.feature import Feature
from policyscope.dictionaries.file import export_source, load, save
from policyscope.dictionaries.fit import Fitted, fit, fit_source
from policyscope.dictionaries.relu import ReLU
from policyscope.dictionaries.schedule import Schedule
from policyscope.dictionaries.topk import TopK

__all__ = [
    "DICTIONARIES",
    "Curves",
    "Dictionary",
    "Feature",
    "Fitted",
    "ReLU",
    "Schedule",
    "TopK",
    "export_source",
    "fit",
    "fit_family",
    "fit_source",
    "load",
    "save",
]
