"""SAELens' on-disk format, out and in, without that library.

    cfg.json                    architecture, sizes, choices, metadata
    sae_weights.safetensors     W_enc [d_in, d_sae], b_enc, W_dec [d_sae, d_out], b_dec, …

The arithmetic is that of SAELens 6 (its `sae_lens/saes`), whose encoders may subtract `b_dec` from
the input first. Ours never do, so that is folded into the bias.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as write_tensors
from torch import Tensor

from policyscope.address import Site
from policyscope.dictionaries.calibration import Calibration, calibrate
from policyscope.dictionaries.dictionary import Dictionary, kind_of
from policyscope.dictionaries.file import replace_directory
from policyscope.dictionaries.plain import Plain, dictionary_of, plain_of
from policyscope.document import as_text
from policyscope.errors import CorruptFile, InvalidInput, UnknownName

CONFIG, WEIGHTS, SPARSITY = "cfg.json", "sae_weights.safetensors", "sparsity.safetensors"
CONFIG_BYTES = 2**20
"""The longest configuration that is read; theirs have about a thousand bytes."""
FLOATS = ("F16", "BF16", "F32", "F64")
FOLLOWED = "6.0.0"
"""The version whose format is written. Without one SAELens takes a file for an older one."""
OURS = "policyscope"
"""The entry of the metadata that says what a dictionary was here."""

IMPORTABLE: dict[str, tuple[str, ...]] = {
    "standard": ("b_enc",),
    "topk": ("b_enc",),
    "jumprelu": ("b_enc", "threshold"),
    "gated": ("b_gate", "r_mag", "b_mag"),
    "transcoder": ("b_enc",),
    "skip_transcoder": ("b_enc", "W_skip"),
    "jumprelu_transcoder": ("b_enc", "threshold"),
}
"""The architectures that a kind here can be, and their tensors besides W_enc, W_dec and b_dec."""


# --- out -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Exported:
    """Where a dictionary was written, as what, and what that cost."""

    directory: Path
    architecture: str
    calibration: Calibration | None = None
    """None where SAELens computes the same."""

    def __str__(self) -> str:
        said = f"{self.directory}: {self.architecture} of SAELens"
        if self.calibration is None:
            return f"{said}, which computes the same"
        return (
            f"{said}, with thresholds found on {self.calibration.steps:,} steps; they miss "
            f"{self.calibration.unexplained:.1%} of the variance of the reconstruction"
        )


def export_saelens(
    dictionary: Dictionary,
    directory: Path | str,
    *,
    calibrate_on: Float[Tensor, "step unit"] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Exported:
    """Writes `dictionary` as a folder that `sae_lens.SAE.load_from_disk` opens.

    It computes the same there, but for transcoders that keep the k largest, which SAELens does
    not have: they get thresholds, found on `calibrate_on` (activations of the site that is read),
    and the result says what that costs. `metadata` (agent, environment, scores, …) joins what is
    known of the dictionary in `cfg.json`. An export that is at `directory` already is replaced.
    """
    plain = plain_of(dictionary)
    is_autoencoder = dictionary.d_in == dictionary.d_out and dictionary.reads == dictionary.writes
    calibration = None
    if is_autoencoder and plain.skip is None:
        architecture = autoencoder_of(plain)
    else:
        plain = plain.ungated()
        if plain.k is not None and plain.k < plain.width:
            plain, calibration = calibrate(plain, needed(dictionary, calibrate_on))
        architecture = transcoder_of(plain)
    known = facts_of(dictionary, metadata or {})
    if calibration is not None:
        known[OURS]["calibration"] = asdict(calibration)
    write_folder(
        Path(directory),
        configuration(architecture, plain, known),
        tensors_of(architecture, plain),
    )
    return Exported(Path(directory), architecture, calibration)


def needed(
    dictionary: Dictionary, x: Float[Tensor, "step unit"] | None
) -> Float[Tensor, "step unit"]:
    """The activations to find thresholds on; an error that says what they are for if absent."""
    if x is None:
        raise InvalidInput(
            f"SAELens has no transcoder that keeps the k largest, so {dictionary} is exported with "
            "thresholds, which have to be found on activations: give calibrate_on, "
            f"[step, {dictionary.d_in}] of {dictionary.reads or 'the site that is read'}."
        )
    return x


def autoencoder_of(plain: Plain) -> str:
    """The architecture that is an autoencoder of that rule."""
    if plain.k is not None:
        return "topk"
    if plain.gain is not None:
        return "gated"
    return "standard" if plain.threshold is None else "jumprelu"


def transcoder_of(plain: Plain) -> str:
    """The architecture that is a transcoder of that rule, which is a threshold or none."""
    words = ("jumprelu" * (plain.threshold is not None), "skip" * (plain.skip is not None))
    return "_".join([*filter(None, words), "transcoder"])


def facts_of(dictionary: Dictionary, given: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata: what SAELens looks for, what was given, and what brings the kind back."""
    reads, writes = (None if s is None else str(s) for s in (dictionary.reads, dictionary.writes))
    taken = sorted({"sae_lens_version", OURS} & set(given))
    if taken:
        raise InvalidInput(f"The metadata cannot hold {' or '.join(taken)}; choose other names.")
    return {
        "sae_lens_version": FOLLOWED,
        "sae_lens_training_version": None,
        "model_name": given.get("agent"),
        "hook_name": reads,
        "hook_name_out": writes,
        **given,
        OURS: {
            "kind": kind_of(dictionary),
            "choices": dictionary.choices(),
            "name": dictionary.name,
            "reads": reads,
            "writes": writes,
        },
    }


def configuration(architecture: str, plain: Plain, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The content of `cfg.json`."""
    config: dict[str, Any] = {
        "architecture": architecture,
        "d_in": plain.encoder.shape[1],
        "d_sae": plain.width,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": False,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": metadata,
    }
    if is_transcoder(architecture):
        config["d_out"] = plain.decoder.shape[1]
    if architecture == "topk":
        config |= {"k": plain.k, "rescale_acts_by_decoder_norm": False}
    return config


def tensors_of(architecture: str, plain: Plain) -> dict[str, Tensor]:
    """The content of `sae_weights.safetensors`."""
    found = {
        "W_enc": plain.encoder.T,
        "b_gate" if architecture == "gated" else "b_enc": plain.encoder_bias,
        "r_mag": plain.gain,
        "b_mag": plain.gain_bias,
        "threshold": plain.threshold,
        "W_dec": plain.decoder,
        "b_dec": plain.decoder_bias,
        "W_skip": plain.skip,
    }
    return {
        name: tensor.detach().cpu().float().contiguous()
        for name, tensor in found.items()
        if tensor is not None
    }


def write_folder(directory: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Writes both files, or leaves what was there."""
    if directory.is_dir():
        others = sorted({path.name for path in directory.iterdir()} - {CONFIG, WEIGHTS, SPARSITY})
        if others:
            raise InvalidInput(
                f"{directory} also holds {', '.join(others[:5])}; choose another name."
            )

    def fill(folder: Path) -> None:
        (folder / WEIGHTS).write_bytes(write_tensors(dict(tensors)))
        (folder / CONFIG).write_text(as_text(config) + "\n", "utf-8")

    replace_directory(directory, fill, mark=CONFIG)


# --- in ------------------------------------------------------------------------------------------


def import_saelens(directory: Path | str) -> Dictionary:
    """The dictionary in a folder that SAELens or `export_saelens` wrote; it computes the same.

    Nothing in the folder is run: only JSON and safetensors are read, the weights only after their
    shapes fit the configuration. What we exported has its kind, choices, name and sites again,
    where the file computes what that kind does. Raises CorruptFile where the folder is not what it
    says, and UnknownName or InvalidInput where no kind here can be what it is.
    """
    directory = Path(directory)
    config = read_config(directory)
    plain = translated(config, read_tensors(directory, config))
    origin = entry(entry(config, "metadata"), OURS)
    try:
        kind, name = str(origin.get("kind")), str(origin.get("name") or "")
        dictionary = dictionary_of(plain, kind, entry(origin, "choices"))
        dictionary.name = name
        dictionary.reads, dictionary.writes = (
            Site.parse(str(origin[side])) if origin.get(side) else None
            for side in ("reads", "writes")
        )
    except (TypeError, ValueError, RuntimeError) as error:
        raise CorruptFile(
            f"What {directory / CONFIG} says of its origin in {OURS} cannot be: {error}"
        ) from error
    return dictionary


def entry(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The names and values under `name`; none where there is something else or nothing."""
    found = document.get(name)
    return found if isinstance(found, dict) else {}


def read_config(directory: Path | str) -> dict[str, Any]:
    """What `cfg.json` says, in the words of SAELens 6 and with its `metadata`; opens no weights."""
    path = Path(directory) / CONFIG
    if not path.exists():
        below = sorted(found.parent.name for found in path.parent.glob(f"*/{CONFIG}"))
        raise UnknownName(
            f"{directory} is no dictionary of SAELens, which is a folder with {CONFIG} and "
            f"{WEIGHTS}." + (f" Folders in it that are: {', '.join(below[:12])}." if below else "")
        )
    if path.stat().st_size > CONFIG_BYTES:
        raise CorruptFile(
            f"{path} has {path.stat().st_size:,} bytes; at most {CONFIG_BYTES:,} are read."
        )
    try:
        config = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise CorruptFile(f"{path} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise CorruptFile(f"{path} holds a {type(config).__name__}; expected names and values.")
    config = modern(path, config)
    check_config(path, config)
    return config


def modern(path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration in the words of SAELens 6, whichever version wrote it."""
    known = {"architecture": "standard", "apply_b_dec_to_input": True, **config}
    activation = known.get("activation_fn_str") or known.get("activation_fn") or "relu"
    if activation == "topk":
        options = known.get("activation_fn_kwargs")
        k = options.get("k") if isinstance(options, dict) else None
        known = {"k": k, **known, "architecture": "topk"}
    elif activation != "relu":
        raise InvalidInput(
            f"{path} has the activation {activation!r}; relu and topk can be imported."
        )
    scaling = known.get("normalize_activations") or "none"
    # A switch before it was a name.
    known["normalize_activations"] = "expected_average_only_in" if scaling is True else scaling
    return known


def check_config(path: Path, config: Mapping[str, Any]) -> None:
    """Raises where the configuration is of nothing that a kind here can be."""
    architecture, scaling = config["architecture"], config["normalize_activations"]
    if architecture not in IMPORTABLE:
        what = "architecture of SAELens that can be imported"
        raise UnknownName.among(what, str(architecture), IMPORTABLE)
    sizes = ["d_in", "d_sae", *(["d_out"] if is_transcoder(architecture) else [])]
    for name in [*sizes, *(["k"] if architecture == "topk" else [])]:
        value = config.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise CorruptFile(f"{path} says {name} is {value!r}; expected a whole number from 1.")
    if architecture == "topk" and config["k"] > config["d_sae"]:
        raise CorruptFile(f"{path} says k is {config['k']} of {config['d_sae']} features.")
    if scaling in ("expected_average_only_in", "covariance_whitening"):
        raise InvalidInput(
            f"{path} normalizes activations by {scaling}, with numbers that are not in its folder. "
            "Fold them into the weights with SAELens (fold_activation_norm_scaling_factor, "
            "fold_activation_whitening), then save_model, and import that."
        )
    if scaling != "none":
        raise InvalidInput(
            f"{path} normalizes each step by itself ({scaling!r}), which no kind here does. "
            "Importable is normalize_activations 'none'."
        )


def read_tensors(directory: Path, config: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors as float32, read after their names, shapes and types are seen to fit."""
    path = directory / WEIGHTS
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            check_shapes(path, {name: parts[name].get_shape() for name in parts}, config)
            for name, part in parts.items():
                if part.get_dtype() not in FLOATS:
                    raise CorruptFile(
                        f"{path}: {name} is of type {part.get_dtype()}; expected "
                        f"{', '.join(FLOATS)}."
                    )
            tensors = {name: file.get_tensor(name).float() for name in parts}
    except FileNotFoundError:
        raise CorruptFile(
            f"{path} is missing. Weights in other files are not opened, pickled ones above all: "
            "load them with SAELens, then save_model."
        ) from None
    except SafetensorError as error:
        raise CorruptFile(f"{path} is not safetensors, or is damaged: {error}") from error
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise CorruptFile(f"{path}: {name} holds NaN or Inf.")
    return tensors


def check_shapes(path: Path, given: Mapping[str, list[int]], config: Mapping[str, Any]) -> None:
    """Raises CorruptFile where the tensors are not those that the configuration speaks of."""
    d_in, d_sae = config["d_in"], config["d_sae"]
    d_out = config["d_out"] if is_transcoder(config["architecture"]) else d_in
    expected = {"W_enc": [d_in, d_sae], "W_dec": [d_sae, d_out], "b_dec": [d_out]}
    for name in IMPORTABLE[config["architecture"]]:
        expected[name] = [d_out, d_in] if name == "W_skip" else [d_sae]
    if "scaling_factor" in given:
        # Early versions wrote it whether or not it was used.
        expected["scaling_factor"] = [d_sae]
    if given.keys() != expected.keys():
        raise CorruptFile(
            f"{path} holds {', '.join(sorted(given)) or 'nothing'}; {CONFIG} speaks of "
            f"{', '.join(sorted(expected))} ({config['architecture']})."
        )
    for name, shape in expected.items():
        if list(given[name]) != shape:
            raise CorruptFile(
                f"{path}: {name} is {list(given[name])}; by the sizes in {CONFIG} it is {shape}."
            )


def translated(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Plain:
    """What the files compute, with everything folded for which our kinds have no place."""
    architecture = config["architecture"]
    encoder, decoder, decoder_bias = tensors["W_enc"].T, tensors["W_dec"], tensors["b_dec"]
    bias = tensors["b_gate" if architecture == "gated" else "b_enc"]
    gain, gain_bias = tensors.get("r_mag"), tensors.get("b_mag")
    if not is_transcoder(architecture) and config["apply_b_dec_to_input"]:
        shift = encoder @ decoder_bias
        bias = bias - shift
        if gain is not None and gain_bias is not None:
            gain_bias = gain_bias - gain.exp() * shift
    if architecture == "topk" and config.get("rescale_acts_by_decoder_norm"):
        # The codes are those of a decoder of unit norm.
        norm = decoder.norm(dim=1).clamp(min=torch.finfo(torch.float32).tiny)
        encoder, bias, decoder = norm[:, None] * encoder, norm * bias, decoder / norm[:, None]
    if "scaling_factor" in tensors and not (tensors["scaling_factor"] == 1).all():
        raise InvalidInput(
            f"The scaling_factor in {WEIGHTS} is not one, which SAELens 6 does not open either."
        )
    return Plain(
        encoder,
        bias,
        decoder,
        decoder_bias,
        k=config["k"] if architecture == "topk" else None,
        threshold=tensors.get("threshold"),
        gain=gain,
        gain_bias=gain_bias,
        skip=tensors.get("W_skip"),
    )


def is_transcoder(architecture: str) -> bool:
    """Whether what is written is not what is read."""
    return "transcoder" in architecture
