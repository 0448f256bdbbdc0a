"""Agents from the hub: the real client, against a stand-in for the hub on this machine."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from torch import nn

from policyscope.agents.adapters.hub import HubName, neighbours, open_hub, pick
from policyscope.agents.adapters.state_dict import open_state_dict
from policyscope.errors import InvalidInput, UnknownName

pytest.importorskip("huggingface_hub")
COMMIT = "0123456789" * 4


class StandIn(ThreadingHTTPServer):
    """Serves `repositories`: name -> file -> content."""

    def __init__(self, repositories):
        super().__init__(("127.0.0.1", 0), Routes)
        self.repositories = repositories
        self.fetched = []

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.server_port}"


class Routes(BaseHTTPRequestHandler):
    """Lists a repository's files, and gives them."""

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer(with_body=True)

    def answer(self, with_body):
        path = self.path.partition("?")[0].strip("/")
        for name, files in self.server.repositories.items():
            if path.startswith(f"api/models/{name}/tree/"):
                return self.send(json.dumps(listing(files)).encode(), {}, with_body)
            if path.startswith(f"api/models/{name}"):
                siblings = [{"rfilename": file} for file in files]
                facts = {"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings}
                return self.send(json.dumps(facts).encode(), {}, with_body)
            if path.startswith(f"{name}/resolve/"):
                file = path.removeprefix(f"{name}/resolve/").partition("/")[2]
                if file in files:
                    if with_body:
                        self.server.fetched.append(file)
                    etag = f'"{hashlib.sha1(files[file]).hexdigest()}"'
                    headers = {"ETag": etag, "X-Repo-Commit": COMMIT}
                    return self.send(files[file], headers, with_body)
                return self.send(b"", {"X-Error-Code": "EntryNotFound"}, with_body, 404)
        return self.send(b"", {"X-Error-Code": "RepoNotFound"}, with_body, 404)

    def send(self, body, headers, with_body, status=200):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *given):
        pass


def listing(files):
    return [
        {"type": "file", "path": name, "size": len(content), "oid": COMMIT}
        for name, content in files.items()
    ]


def weights(folder):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parts = {"actor": nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))}
        module = nn.ModuleDict({**parts, "critic": nn.Sequential(nn.Linear(4, 1))})
    torch.save(module.state_dict(), folder / "weights")
    return (folder / "weights").read_bytes()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    agent = weights(tmp_path)
    whole = tmp_path / "module"
    torch.save(nn.Linear(2, 2), whole)
    server = StandIn(
        {
            "someone/ppo": {"README.md": b"#", "ppo.cleanrl_model": agent, "config.yml": b"a: 1"},
            "someone/two": {"one.pt": agent, "other.pt": agent},
            "someone/code": {"agent.pt": whole.read_bytes()},
            "someone/text": {"README.md": b"#"},
        }
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def opened(hub, name, tmp_path):
    return open_hub(name, open_state_dict, endpoint=hub.endpoint, cache=tmp_path / "cache")


def test_the_agent_file_is_found_downloaded_and_opened(hub, tmp_path):
    agent = opened(hub, "someone/ppo", tmp_path)
    assert agent.name == "someone/ppo"
    assert agent.is_safe
    with torch.no_grad():
        assert agent.act(torch.ones(3, 4), None, None).outputs["logits"].shape == (3, 2)
    assert sorted(hub.fetched) == ["config.yml", "ppo.cleanrl_model"]


def test_what_is_in_the_cache_is_not_fetched_again(hub, tmp_path):
    for _ in range(2):
        opened(hub, "someone/ppo@main/ppo.cleanrl_model", tmp_path)
    assert hub.fetched.count("ppo.cleanrl_model") == 1


def test_the_endpoint_is_that_of_the_environment_variable(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    assert open_hub("someone/ppo", open_state_dict, cache=tmp_path / "cache").name == "someone/ppo"


def test_several_agents_in_one_repository_must_be_told_apart(hub, tmp_path):
    with pytest.raises(InvalidInput, match=r"several agents: one\.pt, other\.pt.*someone/two/one"):
        opened(hub, "someone/two", tmp_path)
    assert opened(hub, "someone/two/other.pt", tmp_path).name == "someone/two"


def test_files_from_the_hub_are_as_untrusted_as_any(hub, tmp_path):
    with pytest.raises(PermissionError, match="whole module"):
        opened(hub, "someone/code", tmp_path)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("nobody/nothing", UnknownName, "no repository 'nobody/nothing', or it is private"),
        ("someone/text", InvalidInput, r"holds no agent file .*, only README\.md"),
        ("someone/ppo/pop.cleanrl_model", UnknownName, r"Did you mean 'ppo\.cleanrl_model'"),
        ("someone", InvalidInput, "Write hub:USER/REPO"),
    ],
)
def test_what_is_not_there_is_said(hub, tmp_path, name, error, message):
    with pytest.raises(error, match=message):
        opened(hub, name, tmp_path)


def test_a_hub_that_does_not_answer_is_named(tmp_path, monkeypatch):
    # The client waits before it tries again.
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(UnknownName, match="Cannot reach hub:someone/ppo at http://127"):
        open_hub("someone/ppo", open_state_dict, endpoint="http://127.0.0.1:9", cache=tmp_path)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("sb3/ppo-CartPole-v1", HubName("sb3/ppo-CartPole-v1")),
        ("a/b@v1.0", HubName("a/b", "v1.0")),
        ("a/b/c/d.zip", HubName("a/b", None, "c/d.zip")),
        ("a/b@main/d.zip", HubName("a/b", "main", "d.zip")),
    ],
)
def test_names_are_taken_apart(text, name):
    assert HubName.parse(text) == name


@pytest.mark.parametrize(
    ("files", "picked"),
    [
        (["ppo-CartPole-v1.zip", "ppo-CartPole-v1/policy.pth", "replay_buffer.zip"], 0),
        (["optimizer.pt", "model.safetensors", "training_args.bin"], 1),
        (["checkpoints/model.pt", "model.pt"], 1),
        (["last.pt", "best_model.pt"], 1),
        (["other.zip", "ppo-CartPole-v1.zip"], 1),
    ],
)
def test_the_likeliest_file_is_picked(files, picked):
    assert pick(HubName("sb3/ppo-CartPole-v1"), files) == files[picked]


def test_only_what_lies_beside_the_agent_is_fetched_with_it():
    files = ["a.zip", "vec_normalize.pkl", "README.md", "video.mp4", "other/args.yml"]
    assert neighbours("a.zip", files) == ["vec_normalize.pkl"]
