"""Opening agents: what can be named, and everything that can be wrong with it."""

import json
import sys
from textwrap import dedent

import pytest
import torch
from safetensors.torch import save_file

from policyscope.agents.adapters.torch import TorchAgent
from policyscope.agents.agent_file import AGENT_FORMAT, HEADER, save_agent
from policyscope.agents.architectures import MLP
from policyscope.agents.loading import SCHEMES, open_agent, open_copy
from policyscope.errors import (
    CorruptFile,
    InvalidInput,
    NewerFormat,
    UnknownName,
    UntrustedFile,
)

SIZES = [4, 8, 2]
GOOD = {
    "format": AGENT_FORMAT,
    "architecture": "mlp",
    "arguments": {"sizes": SIZES},
    "head": "logits",
    "name": "mine",
    "algorithm": "unknown",
    "environment": None,
}


def saved(path, header=GOOD, sizes=SIZES):
    save_file(MLP(sizes).state_dict(), path, {HEADER: json.dumps(header)})
    return path


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module into the working directory, and forgets it afterwards."""
    written = []

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(dedent(text))
        written.append(name)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield write
    for name in written:
        sys.modules.pop(name, None)


def test_what_was_saved_is_what_is_opened(tmp_path):
    network, path = MLP(SIZES, "tanh"), tmp_path / "deep" / "agent.safetensors"
    save_agent(
        path,
        network,
        architecture="mlp",
        arguments={"sizes": SIZES, "activation": "tanh"},
        head="values",
        name="mine",
        algorithm="DQN",
        environment="CartPole-v1",
    )
    agent = open_agent(str(path))
    facts = (agent.name, agent.algorithm, agent.environment, agent.head)
    assert facts == ("mine", "DQN", "CartPole-v1", "values")
    x = torch.randn(5, 4)
    assert torch.equal(agent.module(x), network(x))
    assert [file.name for file in path.parent.iterdir()] == ["agent.safetensors"]


def test_a_missing_file(tmp_path):
    for name in ("none.safetensors", "none.pt"):
        with pytest.raises(UnknownName, match=r"There is no agent file '.*none"):
            open_agent(str(tmp_path / name))


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff" * 64, bytes(8)])
def test_garbage(tmp_path, content):
    path = tmp_path / "agent.safetensors"
    path.write_bytes(content)
    with pytest.raises(CorruptFile, match=r"agent.* is not a readable safetensors"):
        open_agent(str(path))


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_a_truncated_file(tmp_path, kept):
    path = saved(tmp_path / "agent.safetensors")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(CorruptFile):
        open_agent(str(path))


def test_a_file_of_a_newer_policyscope(tmp_path):
    path = saved(tmp_path / "agent.safetensors", GOOD | {"format": AGENT_FORMAT + 1})
    with pytest.raises(NewerFormat, match="agent format 2; this policyscope reads up to 1"):
        open_agent(str(path))


@pytest.mark.parametrize(
    "header",
    [
        [],
        "text",
        {},
        GOOD | {"format": "one"},
        GOOD | {"arguments": {"widths": SIZES}},
        GOOD | {"arguments": {"sizes": [4, 9, 2]}},
        {key: GOOD[key] for key in GOOD if key != "head"},
    ],
)
def test_a_header_that_does_not_fit(tmp_path, header):
    path = saved(tmp_path / "agent.safetensors", header)
    with pytest.raises(CorruptFile, match="does not hold a network and the weights that fit it"):
        open_agent(str(path))


def test_an_unknown_architecture(tmp_path):
    path = saved(tmp_path / "agent.safetensors", GOOD | {"architecture": "mlq"})
    with pytest.raises(UnknownName, match="No architecture called 'mlq'"):
        open_agent(str(path))


def test_weights_that_do_not_say_of_which_network(tmp_path):
    network = MLP(SIZES)
    save_file(network.state_dict(), tmp_path / "bare.safetensors")
    with pytest.raises(InvalidInput, match="activation"):
        open_agent(str(tmp_path / "bare.safetensors"))
    agent = open_agent(
        f"torch:feedforward,activation=relu,head=logits:{tmp_path / 'bare.safetensors'}"
    )
    x = torch.randn(3, 4)
    torch.testing.assert_close(agent.act(x, None, None).outputs["logits"], network(x))


def test_a_file_that_holds_code(tmp_path):
    torch.save(MLP(SIZES), tmp_path / "agent.pth")
    with pytest.raises(UntrustedFile, match="--trust"):
        open_agent(str(tmp_path / "agent.pth"))


@pytest.mark.parametrize("spec", ["nothing", "zoo:", ":make"])
def test_what_names_nothing(spec, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match=r"zoo:…|Known schemes|zoo:NAME"):
        open_agent(spec)


def test_an_unknown_scheme_or_module(module):
    with pytest.raises(UnknownName) as raised:
        open_agent("zoologist:cartpole")
    assert "No agent 'zoologist:cartpole': there is no module 'zoologist'." in str(raised.value)
    assert "Known schemes:" in str(raised.value)


@pytest.mark.parametrize("spec", ["./mine.py:make", "folder/mine:make", "../mine:make"])
def test_a_path_where_a_module_belongs(module, spec):
    with pytest.raises(InvalidInput, match=r"dots for folders, no \.py"):
        open_agent(spec)


def test_a_registered_scheme_gets_what_stands_behind_the_colon(monkeypatch):
    opened = {"one:two": TorchAgent(MLP(SIZES))}
    monkeypatch.setitem(SCHEMES._known, "hub", lambda rest, trust: opened[rest])
    assert open_agent("hub:one:two") is opened["one:two"]


def test_a_function_returns_a_module_or_an_agent(module):
    module(
        "agents_of_mine",
        """
        from policyscope.agents.adapters.torch import TorchAgent
        from policyscope.agents.architectures import MLP
        def network(): return MLP([4, 2])
        def agent(): return TorchAgent(MLP([4, 2]), name="given")
        def number(): return 3
        constant = 4
        """,
    )
    assert open_agent("agents_of_mine:network").name == "agents_of_mine:network"
    assert open_agent("agents_of_mine:agent").name == "given"
    with pytest.raises(InvalidInput, match="returned int; expected a policyscope Agent"):
        open_agent("agents_of_mine:number")
    with pytest.raises(InvalidInput, match="constant is not a function"):
        open_agent("agents_of_mine:constant")
    with pytest.raises(UnknownName, match=r"called 'netwrok'\. Did you mean 'network'"):
        open_agent("agents_of_mine:netwrok")


def test_a_function_is_looked_for_in_the_folder_that_is_given(module, tmp_path, monkeypatch):
    (tmp_path / "study").mkdir()
    module(
        "study/agents_elsewhere",
        "from policyscope.agents.architectures import MLP\ndef make(): return MLP([4, 2])",
    )
    assert open_agent("agents_elsewhere:make", folder=tmp_path / "study").parameters == 10
    sys.modules.pop("agents_elsewhere")


def test_what_the_users_module_lacks_is_not_blamed_on_its_name(module):
    module("needs_more", "import a_package_nobody_has")
    with pytest.raises(ModuleNotFoundError, match="a_package_nobody_has"):
        open_agent("needs_more:make")


# ── Copies ───────────────────────────────────────────────────────────────────────────────────────


def bare_weights(folder):
    network = MLP(SIZES)
    save_file(network.state_dict(), folder / "bare.safetensors")
    return folder / "bare.safetensors"


def test_a_copy_is_opened_as_the_original_was(tmp_path):
    path = bare_weights(tmp_path)
    agent = open_agent(f"torch:feedforward,activation=relu,head=logits:{path}")
    assert agent.files == (path,)
    copy = path.rename(tmp_path / "copy.safetensors")
    again = open_copy(agent.reopen, copy)
    assert again.fingerprint() == agent.fingerprint()


def test_what_lies_beside_a_checkpoint_belongs_to_it(tmp_path):
    (tmp_path / "a").mkdir()
    path = tmp_path / "a" / "agent.safetensors"
    save_agent(path, MLP(SIZES), architecture="mlp", arguments={"sizes": SIZES})
    beside = path.with_name("vecnormalize.pkl")
    beside.touch()
    assert open_agent(str(path)).files == (path, beside)


@pytest.mark.parametrize("reopen", ["os:{}", "planted_maker:make", "", "{}x"])
def test_a_copy_is_opened_by_known_schemes_only(reopen, tmp_path):
    with pytest.raises(InvalidInput, match="is not how a copy of an agent is opened"):
        open_copy(reopen, bare_weights(tmp_path))
