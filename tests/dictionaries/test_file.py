"""A dictionary on disk comes back the same, whole or not at all, and damage has a name."""

import errno
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from policyscope.address import Site
from policyscope.dictionaries import file as file_module
from policyscope.dictionaries.dictionary import Dictionary
from policyscope.dictionaries.file import export_source, load, read_curves, read_header, save
from policyscope.dictionaries.fit import Fitted, fit
from policyscope.dictionaries.relu import ReLU
from policyscope.dictionaries.schedule import Schedule
from policyscope.errors import CorruptFile, DiskFull, InvalidInput, NewerFormat, UnknownName


@pytest.fixture
def fitted() -> Fitted:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 3, generator=generator)
    fitted = fit(ReLU(2), x, x[:, :2], seed=5, data_seed=6, schedule=Schedule(epochs=3))
    fitted.dictionary.name = "layer1/k2"
    fitted.dictionary.reads = Site.parse("fc1:in")
    return fitted


def test_the_layout_on_disk(fitted, tmp_path):
    target = tmp_path / "dictionaries" / "layer1" / "k2"
    save(fitted, target, scores={"unexplained": 0.25, "r": float("nan")}, notes={"by": ["me"]})
    assert sorted(path.name for path in target.iterdir()) == [
        "curves.csv",
        "dictionary.json",
        "weights.safetensors",
    ]
    assert [path.name for path in target.parent.iterdir()] == ["k2"]
    header = json.loads((target / "dictionary.json").read_text())
    assert isinstance(header.pop("weights_crc32"), int)
    assert header == {
        "format": 1,
        "kind": "relu",
        "choices": {"width": 2, "penalty": 1e-5},
        "facts": {"name": "layer1/k2", "reads": "fc1:in", "writes": None, "d_in": 3, "d_out": 2},
        "seed": 5,
        "data_seed": 6,
        "scores": {"unexplained": 0.25, "r": None},
        "notes": {"by": ["me"]},
    }
    weights = load_file(target / "weights.safetensors")
    assert sorted(weights) == [
        "decoder.bias",
        "decoder.weight",
        "encoder.0.bias",
        "encoder.0.weight",
    ]
    lines = (target / "curves.csv").read_text().splitlines()
    assert lines[0] == "epoch,loss,mse,l1,unexplained,l0,dead"
    assert len(lines) == 4
    assert read_header(target)["notes"] == {"by": ["me"]}


def test_curves_come_back(fitted, tmp_path):
    save(fitted, tmp_path / "k2")
    curves = read_curves(tmp_path / "k2")
    assert curves is not None
    for name, values in fitted.curves.columns().items():
        assert np.array_equal(curves.columns()[name], values)
    save(fitted.dictionary, tmp_path / "bare")
    assert read_curves(tmp_path / "bare") is None


def test_saving_again_replaces_the_whole(fitted, tmp_path):
    save(fitted, tmp_path / "k2")
    save(fitted.dictionary, tmp_path / "k2", notes={"second": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["k2"]
    assert read_curves(tmp_path / "k2") is None
    assert read_header(tmp_path / "k2")["notes"] == {"second": 1}


def test_nothing_else_is_overwritten(fitted, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InvalidInput, match="not a dictionary"):
        save(fitted, tmp_path)
    assert (tmp_path / "thesis.tex").exists()


def test_a_full_disk_leaves_what_was_there(fitted, tmp_path, monkeypatch):
    save(fitted, tmp_path / "k2", notes={"first": 1})

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(file_module, "write_curves", fail)
    with pytest.raises(DiskFull, match="k2"):
        save(fitted, tmp_path / "k2")
    assert [path.name for path in tmp_path.iterdir()] == ["k2"]
    assert read_header(tmp_path / "k2")["notes"] == {"first": 1}


def test_an_unknown_dictionary_is_an_unknown_name(fitted, tmp_path):
    save(fitted, tmp_path / "layer1-k2")
    with pytest.raises(UnknownName, match="Did you mean 'layer1-k2'"):
        load(tmp_path / "layer1-k3")


def test_what_has_no_parameters_is_not_saved(tmp_path):
    with pytest.raises(InvalidInput, match="Fit it first"):
        save(ReLU(2), tmp_path / "k2")
    with pytest.raises(InvalidInput, match="Fit it first"):
        export_source(ReLU(2), tmp_path / "k2.pth")


def change_header(directory, **entries) -> None:
    path = directory / "dictionary.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def test_a_newer_format_is_refused(fitted, tmp_path):
    save(fitted, tmp_path / "k2")
    change_header(tmp_path / "k2", format=2)
    with pytest.raises(NewerFormat, match=r"format 2.*Upgrade"):
        load(tmp_path / "k2")


def test_an_unknown_kind_is_refused(fitted, tmp_path):
    save(fitted, tmp_path / "k2")
    change_header(tmp_path / "k2", kind="quantum")
    with pytest.raises(UnknownName, match="No dictionary kind called 'quantum'"):
        load(tmp_path / "k2")


@pytest.mark.parametrize(
    "entries",
    [
        {"choices": {"width": 3}},
        {"choices": {"breadth": 2}},
        {"choices": {"width": 0}},
        {"facts": {}},
        {"facts": 3},
        {"format": "one"},
    ],
)
def test_a_header_that_does_not_fit_is_corrupt(fitted, tmp_path, entries):
    save(fitted, tmp_path / "k2")
    change_header(tmp_path / "k2", **entries)
    with pytest.raises(CorruptFile):
        load(tmp_path / "k2")


def test_every_flipped_byte_and_every_truncation_is_noticed(fitted, tmp_path):
    save(fitted, tmp_path / "k2")
    path = tmp_path / "k2" / "weights.safetensors"
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(CorruptFile, match="checksum"):
            load(tmp_path / "k2")
        path.write_bytes(whole[:at])
        with pytest.raises(CorruptFile, match="checksum"):
            load(tmp_path / "k2")
    path.unlink()
    with pytest.raises(CorruptFile, match="missing"):
        load(tmp_path / "k2")


def test_a_header_that_asks_for_more_room_than_its_weights_fill_gets_none(fitted, tmp_path):
    save(fitted, tmp_path / "d")
    change_header(tmp_path / "d", facts={**read_header(tmp_path / "d")["facts"], "d_out": 10**9})
    with pytest.raises(CorruptFile, match=r"at least .* numbers, but weights.safetensors has"):
        load(tmp_path / "d")


def test_a_damaged_header_or_curve_is_noticed(fitted, tmp_path):
    save(fitted, tmp_path / "k2")
    (tmp_path / "k2" / "curves.csv").write_text("epoch,loss\n1,many\n")
    with pytest.raises(CorruptFile, match="curves"):
        read_curves(tmp_path / "k2")
    (tmp_path / "k2" / "dictionary.json").write_text('{"format": 1, ')
    with pytest.raises(CorruptFile, match="header"):
        load(tmp_path / "k2")


def test_the_export_opens_as_the_source_opens_it(fitted, tmp_path):
    path = tmp_path / "transcoder_layer1_2dim.pth"
    export_source(fitted.dictionary, path)
    state = torch.load(path, weights_only=True)
    assert list(state) == [
        "encoder.0.weight",
        "encoder.0.bias",
        "decoder.weight",
        "decoder.bias",
    ]
    assert torch.equal(state["decoder.weight"][:, 1], fitted.dictionary.direction(1))
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def test_only_relu_dictionaries_are_exported(fitted, tmp_path, monkeypatch):
    monkeypatch.setattr(file_module, "ReLU", type("Other", (Dictionary,), {}))
    with pytest.raises(InvalidInput, match="Use save"):
        export_source(fitted.dictionary, tmp_path / "out.pth")
