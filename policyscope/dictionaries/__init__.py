"""Sparse dictionaries: one kind per file, one contract."""

from policyscope.dictionaries.batch_topk import BatchTopK
from policyscope.dictionaries.bilinear import Bilinear
from policyscope.dictionaries.cross_layer import CrossLayer
from policyscope.dictionaries.curves import Curves
from policyscope.dictionaries.dictionary import DICTIONARIES, Dictionary
from policyscope.dictionaries.family import fit_family
from policyscope.dictionaries.feature import Feature
from policyscope.dictionaries.file import export_source, load, save
from policyscope.dictionaries.fit import Fitted, fit, fit_source
from policyscope.dictionaries.gated import Gated
from policyscope.dictionaries.ica import ICA
from policyscope.dictionaries.jumprelu import JumpReLU
from policyscope.dictionaries.l1 import L1
from policyscope.dictionaries.matryoshka import Matryoshka
from policyscope.dictionaries.nmf import NMF
from policyscope.dictionaries.pca import PCA
from policyscope.dictionaries.random import Random
from policyscope.dictionaries.raw import Raw
from policyscope.dictionaries.relu import ReLU
from policyscope.dictionaries.schedule import Schedule
from policyscope.dictionaries.skip import Skip
from policyscope.dictionaries.spectrum import Spectrum
from policyscope.dictionaries.topk import TopK

__all__ = [
    "DICTIONARIES",
    "ICA",
    "L1",
    "NMF",
    "PCA",
    "BatchTopK",
    "Bilinear",
    "CrossLayer",
    "Curves",
    "Dictionary",
    "Feature",
    "Fitted",
    "Gated",
    "JumpReLU",
    "Matryoshka",
    "Random",
    "Raw",
    "ReLU",
    "Schedule",
    "Skip",
    "Spectrum",
    "TopK",
    "export_source",
    "fit",
    "fit_family",
    "fit_source",
    "load",
    "save",
]
