"""A dictionary on disk: a readable header, safetensors weights and its curves.

    dictionary.json        format, kind, choices, facts, seeds, scores, notes, checksum of weights
    weights.safetensors    the parameters by their torch names
    curves.csv             one row per epoch

The directory is written under a temporary name and renamed: the rename is the commit.
"""

import csv
import errno
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as write_tensors

from policyscope.dictionaries.curves import Curves
from policyscope.dictionaries.dictionary import DICTIONARIES, Dictionary, kind_of
from policyscope.dictionaries.fit import Fitted
from policyscope.dictionaries.relu import ReLU
from policyscope.document import strict
from policyscope.errors import CorruptFile, DiskFull, InvalidInput, NewerFormat, UnknownName

FORMAT = 1
HEADER, WEIGHTS, CURVES = "dictionary.json", "weights.safetensors", "curves.csv"


def save(
    subject: Fitted | Dictionary,
    directory: Path,
    *,
    scores: Mapping[str, Any] | None = None,
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Writes a dictionary, with its curves if it was just fitted, as the directory `directory`.

    A dictionary that is there already is replaced whole. `scores` and `notes` are kept in the
    header as JSON; a number that is not finite becomes null.
    """
    dictionary = subject.dictionary if isinstance(subject, Fitted) else subject
    if not dictionary.is_built:
        raise InvalidInput(f"{dictionary} has no parameters to save. Fit it first.")
    weights = write_tensors(
        {name: value.detach().cpu().contiguous() for name, value in dictionary.state_dict().items()}
    )
    header = {
        "format": FORMAT,
        "kind": kind_of(dictionary),
        "choices": dictionary.choices(),
        "facts": dictionary.facts(),
        "weights_crc32": zlib.crc32(weights),
        "scores": strict(scores or {}),
        "notes": strict(notes or {}),
    }
    if isinstance(subject, Fitted):
        header["seed"], header["data_seed"] = subject.seed, subject.data_seed

    def fill(folder: Path) -> None:
        (folder / WEIGHTS).write_bytes(weights)
        if isinstance(subject, Fitted):
            write_curves(subject.curves, folder / CURVES)
        text = json.dumps(header, indent=2, ensure_ascii=False, allow_nan=False)
        (folder / HEADER).write_text(text + "\n", encoding="utf-8")

    replace_directory(Path(directory), fill)


def load(directory: Path) -> Dictionary:
    """The dictionary that was saved as `directory`, on the CPU."""
    directory = Path(directory)
    header = read_header(directory)
    kind = DICTIONARIES.get(header["kind"])
    weights = directory / WEIGHTS
    try:
        content = weights.read_bytes()
        if zlib.crc32(content) != header["weights_crc32"]:
            raise CorruptFile(f"{weights} is damaged: its checksum is not the one in {HEADER}.")
        facts = header["facts"]
        dictionary = kind(**header["choices"])
        dictionary.place(facts)
        tensors = parse_tensors(content)
        check_size(dictionary.width or facts["d_in"], facts, tensors)
        dictionary.build(facts["d_in"], facts["d_out"], torch.Generator())
        dictionary.load_state_dict(tensors)
    except FileNotFoundError:
        raise CorruptFile(
            f"{weights} is missing; restore it, or fit the dictionary again."
        ) from None
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CorruptFile(
            f"{directory} does not hold the {kind.__name__} it says: {error}"
        ) from error
    return dictionary


def check_size(width: int, facts: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    """Raises ValueError where the header asks for more room than the weights it comes with fill."""
    numbers = sum(tensor.numel() for tensor in tensors.values())
    least = max(width * facts["d_out"], facts["d_in"])
    if least > numbers:
        raise ValueError(
            f"{width:,} features from {facts['d_in']:,} to {facts['d_out']:,} units are at least "
            f"{least:,} numbers, but {WEIGHTS} has {numbers:,}."
        )


def read_header(directory: Path) -> dict[str, Any]:
    """What `dictionary.json` says: kind, choices, facts, scores and notes; opens no weights."""
    path = Path(directory) / HEADER
    if not path.exists():
        siblings = [found.parent.name for found in path.parent.parent.glob(f"*/{HEADER}")]
        raise UnknownName.among("dictionary", path.parent.name, sorted(siblings))
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
        version, _ = int(header["format"]), (header["kind"], header["facts"], header["choices"])
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptFile(f"{path} is not the header of a dictionary: {error!r}") from error
    if version > FORMAT:
        raise NewerFormat(
            f"{path} has format {version}; this policyscope reads up to {FORMAT}. "
            "Upgrade policyscope to open it."
        )
    return header


def read_curves(directory: Path) -> Curves | None:
    """The curves saved with a dictionary; None where it was saved without."""
    path = Path(directory) / CURVES
    if not path.exists():
        return None
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [
                {name: float(value) for name, value in row.items()} for row in csv.DictReader(file)
            ]
        for row in rows:
            del row["epoch"]
        return Curves.of(rows)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise CorruptFile(f"{path} does not hold curves: {error!r}") from error


def write_curves(curves: Curves, path: Path) -> None:
    """Writes one row per epoch, counted from one."""
    columns = curves.columns()
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["epoch", *columns])
        values = (column.tolist() for column in columns.values())
        writer.writerows(zip(range(1, len(curves) + 1), *values, strict=True))


def export_source(dictionary: Dictionary, path: Path) -> None:
    """Writes the `state_dict` file of the source, as `transcoder_layer1_2dim.pth`.

    Its keys are `encoder.0.weight`, `encoder.0.bias`, `decoder.weight` and `decoder.bias`.
    """
    if not isinstance(dictionary, ReLU):
        raise InvalidInput(
            f"The source's files hold ReLU dictionaries, not {type(dictionary).__name__}. Use save."
        )
    if not dictionary.is_built:
        raise InvalidInput(f"{dictionary} has no parameters to export. Fit it first.")
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    state = {name: value.detach().cpu() for name, value in dictionary.state_dict().items()}
    try:
        torch.save(state, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def replace_directory(directory: Path, fill: Callable[[Path], None], mark: str = HEADER) -> None:
    """Makes `directory` what `fill` writes, whole or not at all.

    Only a directory that holds the file `mark`, or nothing, is replaced.
    """
    if directory.exists() and any(directory.iterdir()) and not (directory / mark).exists():
        raise InvalidInput(
            f"{directory} holds something that is not a dictionary; choose another name."
        )
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    old, new = temporary / "old", temporary / "new"
    try:
        new.mkdir()
        fill(new)
        # A directory cannot be renamed onto one with files in it, so the old one steps aside.
        if directory.exists():
            directory.replace(old)
        new.replace(directory)
    except OSError as error:
        if old.exists() and not directory.exists():
            old.replace(directory)
        if error.errno == errno.ENOSPC:
            raise DiskFull(
                f"No room to write {directory}; what was there stays as it was."
            ) from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
