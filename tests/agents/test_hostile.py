"""Files that want to run code, or to fill the memory: each is refused or opened without its part.

Every file is built here. Those that would run code touch a marker file if they ever do.
"""

import base64
import builtins
import collections
import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from policyscope.agents.adapters.sb3 import open_sb3
from policyscope.agents.archives import Archive
from policyscope.agents.checkpoints import read_checkpoint, read_state_dict
from policyscope.agents.normalization import read_vecnormalize
from policyscope.agents.pickles import unpickle
from policyscope.agents.untrusted import Untrusted, read_untrusted
from policyscope.errors import CorruptFile, InvalidInput, UnknownName, UntrustedFile

REFUSALS = (UntrustedFile, CorruptFile)


class Calls:
    """Pickles as a call of `function`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def attacks(marker: Path) -> dict[str, Any]:
    """Objects whose unpickling would create the marker file."""
    touch = f"open({str(marker)!r}, 'w').close()"
    return {
        "os.system": Calls(os.system, f"touch '{marker}'"),
        "exec": Calls(builtins.exec, touch),
        "eval": Calls(builtins.eval, touch),
        "open": Calls(builtins.open, str(marker), "w"),
        "numpy": Calls(np.save, str(marker), np.zeros(1)),
        "torch": Calls(torch.save, {}, str(marker)),
        "inside": {"weight": torch.zeros(2), "more": [Calls(os.system, f"touch '{marker}'")]},
    }


ATTACKS = [*attacks(Path("x"))]


@pytest.fixture
def marker(tmp_path: Path) -> Any:
    """The file that no attack may create."""
    path = tmp_path / "it-ran"
    yield path
    assert not path.exists(), "the file's code ran"
    assert not path.with_name("it-ran.npy").exists(), "the file's code ran"


def assert_says(error: BaseException, path: Path) -> None:
    """Every refusal names the file, gives its digest and mentions the flag."""
    for part in (str(path), f"sha256 {read_digest(path)}", "--trust"):
        assert part in str(error), part


def read_digest(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_pickle_that_calls_is_refused(
    attack: str, protocol: int, marker: Path, tmp_path: Path
) -> None:
    path = tmp_path / "vecnormalize.pkl"
    torch.set_grad_enabled(True)
    path.write_bytes(pickle.dumps(attacks(marker)[attack], protocol))
    with pytest.raises(REFUSALS) as caught:
        read_vecnormalize(path)
    assert_says(caught.value, path)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("is_old", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("suffix", ["pt", "pth", "ckpt"])
def test_a_checkpoint_that_calls_is_refused(
    attack: str, is_old: bool, suffix: str, marker: Path, tmp_path: Path
) -> None:
    path = tmp_path / f"model.{suffix}"
    torch.save(attacks(marker)[attack], path, _use_new_zipfile_serialization=not is_old)
    with pytest.raises(REFUSALS) as caught:
        read_checkpoint(path)
    assert_says(caught.value, path)


def test_a_refusal_says_what_was_found(marker: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save(attacks(marker)["os.system"], path)
    with pytest.raises(UntrustedFile, match=r"would call (posix|nt)\.system"):
        read_checkpoint(path)
    torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(UntrustedFile, match=r"more than tensors: .*Linear.*state_dict"):
        read_checkpoint(path)


def test_a_plain_pickle_is_no_checkpoint(marker: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(pickle.dumps(attacks(marker)["exec"]))
    with pytest.raises(UntrustedFile, match=r"builtins\.exec"):
        read_checkpoint(path)
    path.write_bytes(pickle.dumps({"weight": 1}))
    with pytest.raises(CorruptFile, match=r"not a file that torch\.save wrote"):
        read_checkpoint(path)


# ── Zips of Stable-Baselines3 ────────────────────────────────────────────────────────────────────


def sb3_data(**changes: Any) -> dict[str, Any]:
    """The entries of a small PPO, as text."""
    box = {"_shape": [3], "dtype": "float32", "low": "[-1. -1. -1.]", "high": "[1. 1. 1.]"}
    return {
        "policy_class": {":type:": "", "__module__": "stable_baselines3.common.policies"},
        "policy_kwargs": {},
        "observation_space": {":type:": "<class 'gymnasium.spaces.box.Box'>", **box},
        "action_space": {":type:": "<class 'gymnasium.spaces.discrete.Discrete'>", "n": "2"},
        "clip_range": 0.2,
        **changes,
    }


def sb3_weights() -> dict[str, torch.Tensor]:
    """The weights of a small PPO."""
    shapes = {
        "mlp_extractor.policy_net.0.weight": (4, 3),
        "mlp_extractor.policy_net.0.bias": (4,),
        "mlp_extractor.value_net.0.weight": (4, 3),
        "mlp_extractor.value_net.0.bias": (4,),
        "action_net.weight": (2, 4),
        "action_net.bias": (2,),
        "value_net.weight": (1, 4),
        "value_net.bias": (1,),
    }
    return {name: torch.ones(shape) for name, shape in shapes.items()}


def saved(value: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


def write_zip(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def sb3_zip(path: Path, **members: bytes) -> Path:
    """A small PPO, with these members changed or added."""
    whole = {"data": json.dumps(sb3_data()).encode(), "policy.pth": saved(sb3_weights())}
    return write_zip(path, {**whole, **members})


def test_the_harmless_zip_opens(tmp_path: Path) -> None:
    agent = open_sb3(sb3_zip(tmp_path / "agent.zip"))
    assert agent.algorithm == "ppo"
    assert agent.is_safe


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize(
    "field",
    ["observation_space", "action_space", "policy_class", "policy_kwargs", "lr_schedule", "evil"],
)
def test_serialized_fields_are_never_unpickled(
    field: str, attack: str, marker: Path, tmp_path: Path
) -> None:
    code = base64.b64encode(pickle.dumps(attacks(marker)[attack])).decode()
    entry = sb3_data().get(field, {})
    data = sb3_data(**{field: {**entry, ":serialized:": code}})
    path = sb3_zip(tmp_path / "agent.zip", data=json.dumps(data).encode())
    assert open_sb3(path).algorithm == "ppo"
    # And with nothing readable beside the pickle.
    data = sb3_data(**{field: {":type:": "<class 'dict'>", ":serialized:": code}})
    path = sb3_zip(tmp_path / "agent.zip", data=json.dumps(data).encode())
    assert open_sb3(path).parameters == 47


@pytest.mark.parametrize("attack", ATTACKS)
def test_weights_in_a_zip_that_call_are_refused(attack: str, marker: Path, tmp_path: Path) -> None:
    path = sb3_zip(tmp_path / "agent.zip", **{"policy.pth": saved(attacks(marker)[attack])})
    with pytest.raises(REFUSALS) as caught:
        open_sb3(path)
    assert_says(caught.value, path)


@pytest.mark.parametrize(
    "member", ["pytorch_variables.pth", "policy.optimizer.pth", "evil.pkl", "nested.zip"]
)
def test_members_that_are_not_needed_are_not_read(
    member: str, marker: Path, tmp_path: Path
) -> None:
    evil = saved(attacks(marker)["os.system"])
    assert open_sb3(sb3_zip(tmp_path / "agent.zip", **{member: evil})).parameters == 47


def test_the_pickle_beside_a_zip_is_refused(marker: Path, tmp_path: Path) -> None:
    path = sb3_zip(tmp_path / "agent.zip")
    beside = tmp_path / "vecnormalize.pkl"
    beside.write_bytes(pickle.dumps(attacks(marker)["os.system"]))
    with pytest.raises(UntrustedFile) as caught:
        open_sb3(path)
    assert_says(caught.value, beside)


def test_a_policy_of_its_own_is_refused(tmp_path: Path) -> None:
    for changes, found in (
        ({"policy_class": {"__module__": "__main__"}}, "from '__main__'"),
        ({"policy_kwargs": {"activation_fn": "<function <lambda> at 0x7f>"}}, "lambda"),
        ({"policy_kwargs": {"features_extractor_class": "<class '__main__.Own'>"}}, "Own"),
    ):
        data = json.dumps(sb3_data(**changes)).encode()
        path = sb3_zip(tmp_path / "agent.zip", data=data)
        with pytest.raises(UntrustedFile, match=found) as caught:
            open_sb3(path)
        assert_says(caught.value, path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{",
        b"[" * 100_000,
        b'{"n": ' + b"9" * 10_000 + b"}",
        b'{"observation_space": ' * 20_000,
    ],
    ids=["empty", "bytes", "list", "null", "cut", "deep", "number", "deep-dict"],
)
def test_broken_text_is_refused(data: bytes, tmp_path: Path) -> None:
    path = sb3_zip(tmp_path / "agent.zip", data=data)
    with pytest.raises(CorruptFile) as caught:
        open_sb3(path)
    assert_says(caught.value, path)


@pytest.mark.parametrize(
    "changes",
    [
        {"observation_space": {":type:": "<class 'gym.spaces.box.Box'>", "_shape": [10**12]}},
        {"observation_space": {":type:": "<class 'gym.spaces.box.Box'>", "_shape": [-1]}},
        {"observation_space": {":type:": "<class 'gym.spaces.box.Box'>", "_shape": [40_000] * 2}},
        {"observation_space": {":type:": "<class 'gym.spaces.discrete.Discrete'>", "n": 10**15}},
        {"action_space": {":type:": "<class 'gym.spaces.discrete.Discrete'>", "n": "[" * 9999}},
        {"observation_space": 7, "action_space": None},
    ],
    ids=["huge", "negative", "large", "choices", "garbage", "missing"],
)
def test_absurd_spaces_in_the_text_are_not_believed(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    data = json.dumps(sb3_data(**changes)).encode()
    agent = open_sb3(sb3_zip(tmp_path / "agent.zip", data=data))
    assert agent.observation_space.shape == (3,)


def test_spaces_that_do_not_fit_the_weights_are_refused(tmp_path: Path) -> None:
    for space, n in (("observation_space", 500), ("action_space", 7)):
        text = {":type:": "<class 'gym.spaces.discrete.Discrete'>", "n": n}
        data = json.dumps(sb3_data(**{space: text})).encode()
        with pytest.raises(InvalidInput, match="fit"):
            open_sb3(sb3_zip(tmp_path / "agent.zip", data=data))


@pytest.mark.parametrize(
    "changes",
    [
        {"mlp_extractor.policy_net.99999999999.weight": torch.ones(2, 2)},
        {"mlp_extractor.policy_net.0.weight": torch.ones(2, 2, 2)},
        {"mlp_extractor.policy_net.0.weight": torch.ones(9, 9)},
        {"mlp_extractor.policy_net.0.weight": torch.ones(())},
        {"action_net.weight": torch.ones(0, 0)},
        {"unknown.thing": torch.ones(2)},
        {"features_extractor.cnn.0.weight": torch.ones(1, 1, 999, 999)},
        {".": torch.ones(1)},
        {"a.b.c..d": torch.ones(1)},
        {"forward": torch.ones(1)},
        {"training": torch.ones(1)},
        {"mlp_extractor.__class__": torch.ones(1)},
        {"lstm_actor.weight_ih_l99999999": torch.ones(4, 3)},
        {"action_net" + ".0" * 5_000 + ".weight": torch.ones(2, 2)},
    ],
    ids=lambda one: f"{next(iter(one))[:40]}{[*next(iter(one.values())).shape]}",
)
def test_weights_of_odd_names_and_shapes_are_refused(
    changes: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    weights = saved({**sb3_weights(), **changes})
    with pytest.raises((InvalidInput, *REFUSALS)):
        open_sb3(sb3_zip(tmp_path / "agent.zip", **{"policy.pth": weights}))


# ── Archives ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "a/../../evil",
        "/etc/evil",
        "..\\evil",
        "C:\\evil",
        "\\\\host\\evil",
        "..",
        "a/..",
    ],
)
def test_members_that_climb_out_are_refused(name: str, tmp_path: Path) -> None:
    path = sb3_zip(tmp_path / "agent.zip", **{name: b"x"})
    with pytest.raises(CorruptFile, match="outside") as caught:
        open_sb3(path)
    assert_says(caught.value, path)
    assert not (tmp_path.parent / "evil").exists()


def test_links_and_doubles_and_secrets_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "agent.zip"
    link = zipfile.ZipInfo("policy.pth")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(link, "/etc/passwd")
    with pytest.raises(CorruptFile, match="links"):
        open_sb3(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("data", "1")
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("data", "2")
    with pytest.raises(CorruptFile, match="more than once"):
        open_sb3(path)
    content = bytearray(sb3_zip(path).read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(CorruptFile, match="encrypted"):
        open_sb3(path)


def test_a_bomb_is_refused_before_it_expands(tmp_path: Path) -> None:
    path = tmp_path / "agent.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("data", bytes(64 << 20))
        file.writestr("policy.pth", b"")
    assert path.stat().st_size < 100_000
    with pytest.raises(CorruptFile, match="zip bomb") as caught:
        open_sb3(path)
    assert_says(caught.value, path)


def test_a_member_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    path = sb3_zip(tmp_path / "agent.zip")
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    # The expanded size of the last member, as the directory tells it.
    content[entry + 24 : entry + 28] = struct.pack("<I", 0xFFFFFFF0)
    path.write_bytes(content)
    with pytest.raises(CorruptFile):
        open_sb3(path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_cut_archives_are_refused(share: float, tmp_path: Path) -> None:
    path = sb3_zip(tmp_path / "agent.zip")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CorruptFile) as caught:
        open_sb3(path)
    assert_says(caught.value, path)


def test_flipped_bytes_are_noticed(tmp_path: Path) -> None:
    path = sb3_zip(tmp_path / "agent.zip")
    content = bytearray(path.read_bytes())
    place = content.index(b"clip_range")
    content[place] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(CorruptFile, match="damaged"):
        open_sb3(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x89PNG\r\n", bytes(1000), b"GIF89a"])
def test_wrong_magic_is_refused(content: bytes, tmp_path: Path) -> None:
    for name, opener in (
        ("agent.zip", open_sb3),
        ("model.pt", read_checkpoint),
        ("vecnormalize.pkl", read_vecnormalize),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(CorruptFile) as caught:
            opener(path)
        assert_says(caught.value, path)
        path.unlink()


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="no file"):
        open_sb3(tmp_path / "absent.zip")
    with pytest.raises(InvalidInput, match="not a file"):
        read_untrusted(tmp_path)
    (tmp_path / "large").write_bytes(bytes(100))
    with pytest.raises(CorruptFile, match="more than 10"):
        read_untrusted(tmp_path / "large", limit=10)


def test_a_zip_of_something_else_is_no_agent(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "agent.zip", {"readme.txt": b"hello"})
    with pytest.raises(CorruptFile, match="no agent of Stable-Baselines3"):
        open_sb3(path)
    with pytest.raises(CorruptFile, match=r"not one that torch\.save wrote"):
        read_checkpoint(path)
    with Archive(Untrusted(path, b""), lambda name: True) as archive:
        assert archive.names == ("readme.txt",)
        with pytest.raises(CorruptFile, match="no member"):
            archive.read("absent")


# ── Tensors that claim more than there is ────────────────────────────────────────────────────────


def test_a_tensor_larger_than_its_storage_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"weight": torch.zeros(1).expand(10**7, 10**7)}, path)
    with pytest.raises(CorruptFile, match="claims shape"):
        read_state_dict(path)


@pytest.mark.parametrize("is_old", [False, True], ids=["zip", "legacy"])
def test_a_storage_larger_than_the_file_is_refused(is_old: bool, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    # 54,321 numbers are written as a four-byte integer; so is what it is replaced by.
    torch.save({"weight": torch.zeros(54_321)}, path, _use_new_zipfile_serialization=not is_old)
    honest, lie = struct.pack("<H", 54_321), struct.pack("<H", 65_000)
    lied = path.read_bytes().replace(b"M" + honest, b"M" + lie)
    assert lied != path.read_bytes()
    if not is_old:
        lied = rezip(path, honest, lie)
    path.write_bytes(lied)
    if is_old:
        path.write_bytes(lied[:2_000])
    with pytest.raises(CorruptFile):
        read_state_dict(path)


def rezip(path: Path, honest: bytes, lie: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(stream, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("data.pkl"):
                content = content.replace(b"M" + honest, b"M" + lie)
            new.writestr(name, content)
    return stream.getvalue()


ODD_TENSORS = {
    "sparse": lambda: torch.zeros(2, 2).to_sparse(),
    "sparse-huge": lambda: torch.sparse_coo_tensor(
        torch.zeros(2, 1).long(), torch.ones(1), (10**9, 10**9)
    ),
    "meta": lambda: torch.zeros(10**9, 10**9, device="meta"),
    "quantized": lambda: torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.quint8),
}


@pytest.mark.parametrize("kind", ODD_TENSORS)
@pytest.mark.filterwarnings("ignore")
def test_tensors_that_are_not_plain_are_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"weight": ODD_TENSORS[kind]()}, path)
    with pytest.raises(REFUSALS):
        read_state_dict(path)


def test_memory_is_not_given_away(tmp_path: Path) -> None:
    for greedy in (
        Calls(bytearray, 10**12),
        Calls(torch.FloatTensor, 10**12),
        Calls(collections.OrderedDict, Calls(bytearray, 10**12)),
    ):
        stream = io.BytesIO()
        torch.save(greedy, stream)
        (tmp_path / "model.pt").write_bytes(stream.getvalue())
        with pytest.raises(REFUSALS):
            read_checkpoint(tmp_path / "model.pt")


def test_a_state_dict_of_more_than_tensors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"weight": torch.zeros(2), "step": 3}, path)
    with pytest.raises(CorruptFile, match="more than tensors: step"):
        read_state_dict(path)
    torch.save([1, 2], path)
    with pytest.raises(CorruptFile, match="holds a list"):
        read_state_dict(path)
    torch.save({"epoch": 1, "model_state_dict": {"weight": torch.zeros(2)}}, path)
    assert [*read_state_dict(path)] == ["weight"]


# ── Pickles of statistics ────────────────────────────────────────────────────────────────────────


def statistics_pickle(path: Path, mean: Any = None, *, protocol: int = 4, **changes: Any) -> Path:
    """A pickle with the names of a VecNormalize; such classes need not exist to be read."""
    running = type("RunningMeanStd", (), {})()
    zeros = np.zeros(3) if mean is None else mean
    running.__dict__.update(mean=zeros, var=np.ones(3), count=np.float64(7))
    wrapper = type("VecNormalize", (), {})()
    facts = {"obs_rms": running, "clip_obs": 5.0, "epsilon": 1e-8, "norm_obs": True}
    wrapper.__dict__.update({**facts, **changes})
    module = __import__(__name__, fromlist=["x"])
    for one in (running, wrapper):
        type(one).__module__ = __name__
        type(one).__qualname__ = type(one).__name__
        setattr(module, type(one).__name__, type(one))
    path.write_bytes(pickle.dumps(wrapper, protocol))
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_statistics_are_read_without_their_classes(protocol: int, tmp_path: Path) -> None:
    for dtype in ("<f8", ">f8", "<f4"):
        mean = np.arange(3).astype(dtype)
        path = statistics_pickle(tmp_path / "v.pkl", mean, protocol=protocol)
        read = read_vecnormalize(path)
        assert read is not None
        assert read.clip == 5.0
        assert read.statistics.mean.tolist() == [0, 1, 2]
        assert read.statistics.variance.tolist() == [1, 1, 1]
        assert read.statistics.count == 7


@pytest.mark.parametrize(
    "changes",
    [
        {"mean": np.array([np.nan] * 3)},
        {"mean": np.zeros(4)},
        {"mean": np.array(["a", "b", "c"])},
        {"mean": np.array([{}, {}, {}])},
        {"mean": "none"},
        {"obs_rms": None},
        {"obs_rms": {"a": 1}},
        {"obs_rms": {"a": 1}, "norm_obs_keys": ["b"]},
        {"obs_rms": {"a": 1}, "norm_obs_keys": 7},
        {"clip_obs": "x"},
        {"clip_obs": -1.0},
        {"epsilon": float("nan")},
    ],
    ids=str,
)
def test_impossible_statistics_are_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    path = statistics_pickle(tmp_path / "v.pkl", **changes)
    with pytest.raises(CorruptFile) as caught:
        read_vecnormalize(path)
    assert_says(caught.value, path)


def array_pickle(shape: bytes, code: bytes, content: bytes) -> bytes:
    """A hand-written pickle of an array that may claim anything."""
    return (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR(K\x01"
        + shape
        + b"cnumpy\ndtype\n(X"
        + struct.pack("<I", len(code))
        + code
        + b"K\x00K\x01tR(K\x03X\x01\x00\x00\x00<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89C"
        + bytes([len(content)])
        + content
        + b"tb."
    )


@pytest.mark.parametrize(
    ("shape", "code", "content"),
    [
        (b"\x8a\x06\x00\x00\x00\x00\x00\x01\x85", b"f8", bytes(8)),
        (b"J\xff\xff\xff\xff\x85", b"f8", bytes(8)),
        (b"K\x02K\x02\x86", b"f8", bytes(8)),
        (b"(" + b"K\x01" * 40 + b"t", b"f8", bytes(8)),
        (b"N", b"f8", bytes(8)),
    ],
    ids=["huge", "negative", "mismatch", "dimensions", "none"],
)
def test_absurd_arrays_are_refused(
    shape: bytes, code: bytes, content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "v.pkl"
    path.write_bytes(array_pickle(b"K\x01\x85", b"f8", bytes(8)))
    assert unpickle(read_untrusted(path)).value.value.tolist() == [0.0]
    path.write_bytes(array_pickle(shape, code, content))
    with pytest.raises(CorruptFile):
        unpickle(read_untrusted(path))


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04K\x01r\xff\xff\xff\x7f.",
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fx.",
        b"\x80\x04\x96\x00\x00\x00\x00\x00\x01\x00\x00.",
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x80\x04\x82\x01.",
        b"\x80\x04Ppersistent\n.",
        b"\x80\xffK\x01.",
        b"(" * 100_000 + b".",
        b"cos\nsystem",
        b"0.",
    ],
    ids=[
        "memo",
        "bytes",
        "bytearray",
        "frame",
        "extension",
        "persistent",
        "new",
        "marks",
        "cut",
        "pop",
    ],
)
def test_malformed_pickles_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "v.pkl"
    path.write_bytes(content)
    with pytest.raises(CorruptFile) as caught:
        read_vecnormalize(path)
    assert_says(caught.value, path)


def test_names_of_libraries_stand_for_nothing(marker: Path, tmp_path: Path) -> None:
    """What belongs to no standard library is read as an empty shell, whatever it is called."""
    path = tmp_path / "v.pkl"
    call = b"cnumpy.testing\nrunstring\n(X\x01\x00\x00\x001}tR."
    path.write_bytes(b"\x80\x02" + call)
    opened = unpickle(read_untrusted(path))
    assert opened.names == {"numpy.testing.runstring"}
    assert opened.value.arguments == ("1", {})
