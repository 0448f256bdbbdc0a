"""SAELens' format: what goes out and comes in computes the same, and what cannot has a name."""

import contextlib
import json
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file

from policyscope.address import Site
from policyscope.dictionaries.dictionary import DICTIONARIES, kind_of
from policyscope.dictionaries.pca import PCA
from policyscope.dictionaries.plain import plain_of
from policyscope.dictionaries.saelens import export_saelens, import_saelens, read_config
from policyscope.dictionaries.topk import TopK
from policyscope.errors import CorruptFile, InvalidInput, NotEnoughData, NotFinite, UnknownName

D_IN, D_OUT, WIDTH, K = 5, 3, 7, 2
OF_K = ("topk", "skip", "batch-topk", "matryoshka", "jumprelu")
WEIGHTS = "sae_weights.safetensors"
KINDS = ["relu", "l1", "topk", "batch-topk", "matryoshka", "jumprelu", "gated"]
ENCODERS = {
    "jumprelu": ["b_enc", "threshold"],
    "gated": ["b_gate", "b_mag", "r_mag"],
    "jumprelu_transcoder": ["b_enc", "threshold"],
}
IMPORTABLE = [
    "standard",
    "topk",
    "jumprelu",
    "gated",
    "transcoder",
    "skip_transcoder",
    "jumprelu_transcoder",
]
# Transcoders of SAELens never subtract b_dec.
SUBTRACTING = [(a, s) for a in IMPORTABLE for s in (False, True) if not (s and "trans" in a)]


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def made(kind, d_out=D_IN, **choices):
    """A dictionary with random parameters, biases and thresholds too."""
    given = {"width": WIDTH, **({"k": K} if kind in OF_K else {}), **choices}
    dictionary = DICTIONARIES.get(kind)(**given)
    dictionary.build(D_IN, d_out, torch.Generator().manual_seed(1))
    for seed, tensor in enumerate(dictionary.state_dict().values()):
        tensor.copy_(drawn(*tensor.shape, seed=seed) * 0.7)
    for name, tensor in dictionary.state_dict().items():
        if name in ("threshold", "level"):
            tensor.abs_()
    dictionary.name = f"layer1/{kind}"
    dictionary.reads = Site.parse("fc1:in")
    dictionary.writes = Site.parse("fc1:in" if d_out == D_IN else "fc2:in")
    return dictionary


def files(architecture, seed=0, **changes):
    """The configuration and the tensors of an architecture of SAELens, by its format."""
    is_transcoder = "transcoder" in architecture
    d_out = D_OUT if is_transcoder else D_IN
    config = {
        "architecture": architecture,
        "d_in": D_IN,
        "d_sae": WIDTH,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": not is_transcoder,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"sae_lens_version": "6.54.0", "hook_name": "blocks.3.hook_resid_pre"},
        **({"d_out": d_out} if is_transcoder else {}),
        **({"k": K} if architecture == "topk" else {}),
        **changes,
    }
    shapes = {"W_enc": (D_IN, WIDTH), "W_dec": (WIDTH, d_out), "b_dec": (d_out,)}
    shapes |= {name: (WIDTH,) for name in ENCODERS.get(architecture, ["b_enc"])}
    if "skip" in architecture:
        shapes["W_skip"] = (d_out, D_IN)
    return config, {
        name: drawn(*shape, seed=seed + number)
        for number, (name, shape) in enumerate(shapes.items())
    }


def computed(config, tensors, x):
    """Codes and reconstruction, as the source of SAELens 6 has them."""
    w, b_dec = tensors, tensors["b_dec"]
    seen = x - b_dec if config["apply_b_dec_to_input"] else x
    architecture = config["architecture"]
    if architecture == "gated":
        gate = seen @ w["W_enc"] + w["b_gate"] > 0
        codes = gate * (seen @ (w["W_enc"] * w["r_mag"].exp()) + w["b_mag"]).relu()
        return codes, codes @ w["W_dec"] + b_dec
    pre = seen @ w["W_enc"] + w["b_enc"]
    norm = w["W_dec"].norm(dim=-1) if config.get("rescale_acts_by_decoder_norm") else 1.0
    codes = (pre * norm).relu()
    if architecture == "topk":
        smallest = (pre * norm).topk(config["k"]).values[:, -1:]
        codes = torch.where(pre * norm >= smallest, codes, 0.0)
    if "jumprelu" in architecture:
        codes = codes * (pre > w["threshold"])
    y = (codes / norm) @ w["W_dec"] + b_dec
    return codes, y + x @ w["W_skip"].T if "W_skip" in w else y


def write(folder, config, tensors):
    folder.mkdir(exist_ok=True)
    (folder / "cfg.json").write_text(json.dumps(config))
    save_file({name: value.contiguous() for name, value in tensors.items()}, folder / WEIGHTS)
    return folder


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-5, atol=3e-6)


# --- in ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("architecture", "subtract"), SUBTRACTING)
def test_what_is_imported_computes_what_the_format_says(architecture, subtract, tmp_path):
    config, tensors = files(architecture, apply_b_dec_to_input=subtract)
    dictionary = import_saelens(write(tmp_path / "it", config, tensors))
    x = drawn(200, D_IN, seed=9)
    codes, y = computed(config, tensors, x)
    assert 0.05 < float((codes > 0).float().mean()) < 0.9
    close(dictionary.encode(x), codes)
    close(dictionary(x), y)


def test_a_topk_of_rescaled_codes_is_folded(tmp_path):
    config, tensors = files("topk", rescale_acts_by_decoder_norm=True)
    tensors["W_dec"] *= torch.arange(1, WIDTH + 1)[:, None]
    dictionary = import_saelens(write(tmp_path / "it", config, tensors))
    x = drawn(50, D_IN, seed=9)
    codes, y = computed(config, tensors, x)
    close(dictionary.encode(x), codes)
    close(dictionary(x), y)


def test_files_of_older_versions_are_opened(tmp_path):
    config, tensors = files("topk")
    tensors["scaling_factor"] = torch.ones(WIDTH)
    old = {
        "d_in": D_IN,
        "d_sae": WIDTH,
        "dtype": "torch.float32",
        "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": K},
        "normalize_activations": False,
        "hook_name": "blocks.3.hook_resid_pre",
    }
    dictionary = import_saelens(write(tmp_path / "it", old, tensors))
    assert kind_of(dictionary) == "topk"
    x = drawn(50, D_IN, seed=9)
    close(dictionary(x), computed(config, tensors, x)[1])
    tensors["scaling_factor"][0] = 2.0
    with pytest.raises(InvalidInput, match="scaling_factor"):
        import_saelens(write(tmp_path / "it", old, tensors))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_become_ours(dtype, tmp_path):
    config, tensors = files("standard")
    tensors = {name: value.to(dtype) for name, value in tensors.items()}
    dictionary = import_saelens(write(tmp_path / "it", config, tensors))
    x = drawn(20, D_IN, seed=9)
    same = {name: value.float() for name, value in tensors.items()}
    close(dictionary(x), computed(config, same, x)[1])


def test_an_import_with_thresholds_has_a_k_that_its_width_allows(tmp_path):
    assert import_saelens(write(tmp_path / "it", *files("jumprelu"))).choices()["k"] == WIDTH


def test_an_import_has_no_name_and_no_sites_of_its_own(tmp_path):
    dictionary = import_saelens(write(tmp_path / "it", *files("standard")))
    assert (dictionary.name, dictionary.reads, dictionary.writes) == ("", None, None)
    assert read_config(tmp_path / "it")["metadata"]["hook_name"] == "blocks.3.hook_resid_pre"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"architecture": "temporal"}, UnknownName, "temporal.*Known: standard, topk"),
        ({"architecture": "jumprely"}, UnknownName, "Did you mean 'jumprelu'"),
        ({"architecture": None}, UnknownName, "None"),
        ({"d_sae": 8}, CorruptFile, r"W_enc is \[5, 7\]; by the sizes in cfg.json it is \[5, 8\]"),
        ({"d_in": 10**30}, CorruptFile, "W_enc"),
        ({"d_in": "5"}, CorruptFile, "d_in is '5'; expected a whole number"),
        ({"d_in": True}, CorruptFile, "d_in is True"),
        ({"d_in": 0}, CorruptFile, "d_in is 0"),
        ({"architecture": "topk"}, CorruptFile, "k is None"),
        ({"architecture": "topk", "k": 8}, CorruptFile, "k is 8 of 7 features"),
        ({"architecture": "transcoder"}, CorruptFile, "d_out is None"),
        ({"architecture": "jumprelu"}, CorruptFile, "holds W_dec, W_enc.*speaks of.*threshold"),
        ({"activation_fn": "tanh-relu"}, InvalidInput, "tanh-relu"),
        ({"normalize_activations": "layer_norm"}, InvalidInput, "each step by itself"),
        ({"normalize_activations": "constant_norm_rescale"}, InvalidInput, "each step by itself"),
        ({"normalize_activations": "expected_average_only_in"}, InvalidInput, "Fold them"),
        ({"normalize_activations": True}, InvalidInput, "fold_activation_norm_scaling_factor"),
        ({"metadata": {"policyscope": {"kind": "l1", "choices": {"hight": 3}}}}, CorruptFile, "hi"),
        ({"metadata": {"policyscope": {"reads": "not a site!"}}}, CorruptFile, "not a site"),
        ({"metadata": {"policyscope": {"reads": ["a"]}}}, CorruptFile, "origin"),
    ],
)
def test_a_configuration_that_cannot_be_is_named(changes, error, message, tmp_path):
    config, tensors = files("standard")
    write(tmp_path / "it", {**config, **changes}, tensors)
    with pytest.raises(error, match=message):
        import_saelens(tmp_path / "it")


def test_an_origin_that_the_file_is_not_is_passed_over(tmp_path):
    origins = [{"kind": kind, "choices": {"k": 3}} for kind in ("gated", ["l1"], None, "nonsense")]
    for origin in [*origins, {}, None, [], {"kind": "relu", "choices": "none"}]:
        config, tensors = files("standard")
        config["metadata"] = {"policyscope": origin}
        assert kind_of(import_saelens(write(tmp_path / "it", config, tensors))) == "relu"


def test_tensors_that_do_not_fit_are_named(tmp_path):
    config, tensors = files("standard")
    for changes, message in [
        ({"b_enc": torch.ones(WIDTH, dtype=torch.int32)}, "b_enc is of type I32; expected F16"),
        ({"b_enc": torch.full((WIDTH,), torch.nan)}, "b_enc holds NaN"),
        ({"b_enc": torch.full((WIDTH,), 1e300, dtype=torch.float64)}, "b_enc holds NaN or Inf"),
        ({"b_enc": torch.ones(WIDTH, 1)}, r"b_enc is \[7, 1\]"),
        ({"b_inc": torch.ones(WIDTH)}, "b_inc"),
    ]:
        write(tmp_path / "it", config, {**tensors, **changes})
        with pytest.raises(CorruptFile, match=message):
            import_saelens(tmp_path / "it")


def test_a_folder_that_is_no_dictionary_says_where_some_are(tmp_path):
    write(tmp_path / "layer3", *files("standard"))
    with pytest.raises(UnknownName, match=r"a folder with cfg.json and.*that are: layer3"):
        import_saelens(tmp_path)
    (tmp_path / "layer3" / WEIGHTS).unlink()
    (tmp_path / "layer3" / "sae_weights.pt").write_bytes(b"cos\nsystem\n")
    with pytest.raises(CorruptFile, match=r"missing.*pickled"):
        import_saelens(tmp_path / "layer3")


def test_pickles_under_the_name_of_weights_are_not_opened(tmp_path):
    write(tmp_path / "it", *files("standard"))
    torch.save({"W_enc": torch.ones(2)}, tmp_path / "it" / WEIGHTS)
    with pytest.raises(CorruptFile, match="not safetensors"):
        import_saelens(tmp_path / "it")


def test_damage_of_any_byte_is_an_error_of_ours_or_none(tmp_path):
    folder = write(tmp_path / "it", *files("jumprelu"))
    for name in (WEIGHTS, "cfg.json"):
        path = folder / name
        whole = path.read_bytes()
        for at in range(0, min(len(whole), 700), 7):
            for damaged in (whole[:at], whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :]):
                path.write_bytes(damaged)
                with contextlib.suppress(CorruptFile, UnknownName, InvalidInput):
                    import_saelens(folder)
        path.write_bytes(whole)


@pytest.mark.parametrize("text", ["[" * 10**5, "[]", "3", "{", "\xff", " " * (2**20 + 1)])
def test_a_configuration_that_is_none_is_named(text, tmp_path):
    folder = write(tmp_path / "it", *files("standard"))
    (folder / "cfg.json").write_text(text, "latin-1")
    with pytest.raises(CorruptFile, match=r"cfg\.json"):
        import_saelens(folder)


# --- out -----------------------------------------------------------------------------------------


def test_the_files_of_an_export(tmp_path):
    dictionary = made("topk")
    done = export_saelens(
        dictionary, tmp_path / "out", metadata={"agent": "zoo:cartpole", "scores": {"l0": 2.0}}
    )
    assert str(done) == f"{tmp_path / 'out'}: topk of SAELens, which computes the same"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["cfg.json", WEIGHTS]
    assert json.loads((tmp_path / "out" / "cfg.json").read_text()) == {
        "architecture": "topk",
        "d_in": 5,
        "d_sae": 7,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": False,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {
            "sae_lens_version": "6.0.0",
            "sae_lens_training_version": None,
            "model_name": "zoo:cartpole",
            "hook_name": "fc1:in",
            "hook_name_out": "fc1:in",
            "agent": "zoo:cartpole",
            "scores": {"l0": 2.0},
            "policyscope": {
                "kind": "topk",
                "choices": {"width": 7, "k": 2, "revival": 1.0},
                "name": "layer1/topk",
                "reads": "fc1:in",
                "writes": "fc1:in",
            },
        },
        "k": 2,
        "rescale_acts_by_decoder_norm": False,
    }
    tensors = load_file(tmp_path / "out" / WEIGHTS)
    assert {name: list(tensor.shape) for name, tensor in tensors.items()} == {
        "W_enc": [5, 7],
        "b_enc": [7],
        "W_dec": [7, 5],
        "b_dec": [5],
    }
    assert torch.equal(tensors["W_enc"], dictionary.encoder.T)


@pytest.mark.parametrize(
    ("kind", "d_out", "architecture"),
    [
        ("relu", D_IN, "standard"),
        ("l1", D_IN, "standard"),
        ("topk", D_IN, "topk"),
        ("batch-topk", D_IN, "jumprelu"),
        ("matryoshka", D_IN, "jumprelu"),
        ("jumprelu", D_IN, "jumprelu"),
        ("gated", D_IN, "gated"),
        ("relu", D_OUT, "transcoder"),
        ("l1", D_OUT, "transcoder"),
        ("batch-topk", D_OUT, "jumprelu_transcoder"),
        ("matryoshka", D_OUT, "jumprelu_transcoder"),
        ("jumprelu", D_OUT, "jumprelu_transcoder"),
    ],
)
def test_what_is_exported_computes_the_same_and_comes_back(kind, d_out, architecture, tmp_path):
    dictionary = made(kind, d_out)
    done = export_saelens(dictionary, tmp_path / "out")
    assert (done.architecture, done.calibration) == (architecture, None)
    x = drawn(200, D_IN, seed=9)
    config, tensors = read_config(tmp_path / "out"), load_file(tmp_path / "out" / WEIGHTS)
    codes, y = computed(config, tensors, x)
    close(dictionary.encode(x), codes)
    close(dictionary(x), y)
    again = import_saelens(tmp_path / "out")
    assert str(again) == str(dictionary)
    assert (again.reads, again.writes) == (dictionary.reads, dictionary.writes)
    for name, value in vars(plain_of(dictionary)).items():
        found = getattr(plain_of(again), name)
        assert torch.equal(found, value) if torch.is_tensor(value) else found == value, name


def test_a_gated_transcoder_goes_out_with_thresholds_and_the_same_codes(tmp_path):
    dictionary = made("gated", D_OUT)
    done = export_saelens(dictionary, tmp_path / "out")
    assert (done.architecture, done.calibration) == ("jumprelu_transcoder", None)
    again = import_saelens(tmp_path / "out")
    assert kind_of(again) == "jumprelu"
    x = drawn(500, D_IN, seed=9)
    close(again.encode(x), dictionary.encode(x))
    close(again(x), dictionary(x))


@pytest.mark.parametrize("kind", ["topk", "skip"])
def test_the_k_largest_of_a_transcoder_become_thresholds(kind, tmp_path):
    dictionary = made(kind, D_OUT)
    x = drawn(3000, D_IN, seed=9)
    done = export_saelens(dictionary, tmp_path / "out", calibrate_on=x)
    words = "jumprelu_skip_transcoder" if kind == "skip" else "jumprelu_transcoder"
    assert done.architecture == words
    config, tensors = read_raw(tmp_path / "out"), load_file(tmp_path / "out" / WEIGHTS)
    codes, y = computed(config, tensors, x)
    own = dictionary.encode(x)
    assert torch.equal((codes > 0).sum(0), (own > 0).sum(0)), "each feature fires as often"
    assert done.calibration is not None
    meant = dictionary.decode(own).detach()
    lost = (y - dictionary(x).detach()).square().sum() / (meant - meant.mean(0)).square().sum()
    assert done.calibration.unexplained == pytest.approx(float(lost), rel=1e-4)
    assert done.calibration.l0 == pytest.approx(float((own > 0).sum(1).float().mean()))
    assert config["metadata"]["policyscope"]["calibration"]["steps"] == 3000
    assert f"{done.calibration.unexplained:.1%} of the variance" in str(done)


def read_raw(folder):
    return json.loads((folder / "cfg.json").read_text())


def test_features_that_never_or_always_fire_keep_to_it(tmp_path):
    dictionary = made("topk", D_OUT)
    with torch.no_grad():
        dictionary.encoder_bias[0], dictionary.encoder_bias[1] = -100.0, 100.0
    x = drawn(2000, D_IN, seed=9)
    export_saelens(dictionary, tmp_path / "out", calibrate_on=x)
    codes = import_saelens(tmp_path / "out").encode(x)
    assert not (codes[:, 0] > 0).any()
    assert (codes[:, 1] > 0).all()


def test_a_skip_transcoder_without_a_rule_goes_both_ways(tmp_path):
    dictionary = made("skip", D_OUT, k=WIDTH)
    done = export_saelens(dictionary, tmp_path / "out")
    assert (done.architecture, done.calibration) == ("skip_transcoder", None)
    assert str(import_saelens(tmp_path / "out")) == str(dictionary)
    export_saelens(made("skip", D_OUT), tmp_path / "out", calibrate_on=drawn(1000, D_IN))
    with pytest.raises(UnknownName, match=r"jumprelu_skip_transcoder.*Known: standard"):
        import_saelens(tmp_path / "out")


def test_what_thresholds_cannot_be_found_on_is_refused(tmp_path):
    dictionary = made("topk", D_OUT)
    for x, error, message in [
        (None, InvalidInput, r"give calibrate_on, \[step, 5\] of fc1:in"),
        (drawn(10, D_IN), NotEnoughData, "10 steps.*at least 1,000"),
        (drawn(2000, 4), InvalidInput, "4 units; the dictionary reads 5"),
        (torch.full((2000, D_IN), torch.nan), NotFinite, "calibrate_on holds NaN"),
    ]:
        with pytest.raises(error, match=message):
            export_saelens(dictionary, tmp_path / "out", calibrate_on=x)
    assert not (tmp_path / "out").exists()


def test_what_saelens_has_no_place_for_is_refused(tmp_path):
    pca = PCA(2)
    pca.build(D_IN, D_IN, torch.Generator())
    with pytest.raises(InvalidInput, match=r"kind 'pca'; they can hold batch-topk.*Use save"):
        export_saelens(pca, tmp_path / "out")
    with pytest.raises(InvalidInput, match="Fit it first"):
        export_saelens(TopK(4, k=2), tmp_path / "out")
    taken = {"policyscope": 1, "sae_lens_version": "5"}
    with pytest.raises(InvalidInput, match="cannot hold policyscope or sae_lens_version"):
        export_saelens(made("relu"), tmp_path / "out", metadata=taken)


def test_an_export_replaces_an_export_and_nothing_else(tmp_path):
    for kind in ("relu", "topk"):
        export_saelens(made(kind), tmp_path / "out")
    assert kind_of(import_saelens(tmp_path / "out")) == "topk"
    (tmp_path / "out" / "trainer_state.pt").write_bytes(b"theirs")
    with pytest.raises(InvalidInput, match=r"also holds trainer_state\.pt"):
        export_saelens(made("relu"), tmp_path / "out")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("years of work")
    with pytest.raises(InvalidInput, match="thesis"):
        export_saelens(made("relu"), tmp_path / "other")


def test_metadata_that_json_cannot_say_is_null(tmp_path):
    export_saelens(made("relu"), tmp_path / "out", metadata={"scores": {"kl": float("nan")}})
    assert read_raw(tmp_path / "out")["metadata"]["scores"] == {"kl": None}


# --- the library itself --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saelens():
    with warnings.catch_warnings():
        # Of what it imports.
        warnings.simplefilter("ignore")
        return pytest.importorskip("sae_lens")


@pytest.mark.parametrize("d_out", [D_IN, D_OUT])
@pytest.mark.parametrize("kind", [*KINDS, "skip"])
def test_saelens_opens_what_we_export(saelens, kind, d_out, tmp_path):
    dictionary = made(kind, d_out)
    x = drawn(2000, D_IN, seed=9)
    done = export_saelens(dictionary, tmp_path / "out", calibrate_on=x)
    theirs = saelens.SAE.load_from_disk(tmp_path / "out")
    assert theirs.cfg.architecture() == done.architecture
    assert theirs.cfg.metadata.policyscope["kind"] == kind
    with torch.no_grad():
        if done.calibration is None:
            close(theirs.encode(x), dictionary.encode(x))
            close(theirs(x), dictionary(x))
        else:
            lost = (theirs(x) - dictionary(x)).square().sum()
            varied = plain_of(dictionary).codes(x) @ dictionary.decoder
            varied = (varied - varied.mean(0)).square().sum()
            assert float(lost / varied) == pytest.approx(done.calibration.unexplained, rel=1e-4)


@pytest.mark.parametrize(
    ("architecture", "subtract", "rescale"),
    [*((a, s, False) for a, s in SUBTRACTING), ("topk", False, True), ("topk", True, True)],
)
def test_we_open_what_saelens_saves(saelens, architecture, subtract, rescale, tmp_path):
    is_transcoder = "transcoder" in architecture
    from sae_lens.registry import get_sae_class

    make, choose = get_sae_class(architecture)
    choices = {"d_out": D_OUT} if is_transcoder else {}
    if architecture == "topk":
        choices |= {"k": K, "rescale_acts_by_decoder_norm": rescale}
    theirs = make(choose(d_in=D_IN, d_sae=WIDTH, apply_b_dec_to_input=subtract, **choices))
    with torch.no_grad():
        for seed, parameter in enumerate(theirs.parameters()):
            parameter.copy_(drawn(*parameter.shape, seed=seed))
        theirs.save_model(tmp_path / "it")
        x = drawn(200, D_IN, seed=9)
        ours = import_saelens(tmp_path / "it")
        close(ours.encode(x), theirs.encode(x))
        close(ours(x), theirs(x))
