"""Dictionaries to and from the hub: the real client, against a stand-in for the hub."""

import base64
import hashlib
import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from policyscope.address import Site
from policyscope.dictionaries.card import Card
from policyscope.dictionaries.file import load, save
from policyscope.dictionaries.hub import pull, push
from policyscope.dictionaries.relu import ReLU
from policyscope.errors import CorruptFile, InvalidInput, UnknownName

pytest.importorskip("huggingface_hub")
COMMIT = "0123456789" * 4
PICTURE = b'<svg xmlns="http://www.w3.org/2000/svg"/>'


class StandIn(ThreadingHTTPServer):
    """Keeps `repositories`: name -> file -> content; `refuse` is a status for every request."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Routes)
        self.repositories = {}
        self.private = {}
        self.commits = []
        self.fetched = []
        self.refuse = None

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.server_port}"

    def commit(self, name, lines):
        files = self.repositories[name]
        for line in map(json.loads, lines):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        self.commits.append(name)


class Routes(BaseHTTPRequestHandler):
    """The few endpoints of the hub that a push and a pull use."""

    def do_HEAD(self):
        self.give(with_body=False)

    def do_GET(self):
        self.give(with_body=True)

    def do_POST(self):
        path, server, body = self.path.partition("?")[0].strip("/"), self.server, self.body()
        if server.refuse:
            return self.say({"error": "no"}, server.refuse)
        if path == "api/validate-yaml":
            assert json.loads(body)["content"].startswith("---\n")
            return self.say({"errors": [], "warnings": []})
        if path == "api/repos/create":
            given = json.loads(body)
            name = f"{given['organization']}/{given['name']}"
            known = name in server.repositories
            server.repositories.setdefault(name, {})
            server.private.setdefault(name, given["visibility"] == "private")
            return self.say({"url": f"{server.endpoint}/{name}"}, 409 if known else 200)
        name, _, verb = path.removeprefix("api/models/").removesuffix("/main").rpartition("/")
        if name not in server.repositories:
            return self.say({}, 404, {"X-Error-Code": "RepoNotFound"})
        if verb == "preupload":
            paths = [file["path"] for file in json.loads(body)["files"]]
            mode = {"uploadMode": "regular", "shouldIgnore": False}
            return self.say({"files": [{"path": path, **mode} for path in paths]})
        assert verb == "commit"
        server.commit(name, body.splitlines())
        return self.say({"commitUrl": f"{server.endpoint}/{name}/commit/1", "commitOid": COMMIT})

    def give(self, with_body):
        path, server = self.path.partition("?")[0].strip("/"), self.server
        if server.refuse:
            return self.say({}, server.refuse)
        for name, files in server.repositories.items():
            if path.startswith(f"api/models/{name}/revision/lost"):
                return self.say({}, 404, {"X-Error-Code": "RevisionNotFound"})
            if path.startswith(f"api/models/{name}"):
                sizes = [{"rfilename": file, "size": len(files[file])} for file in files]
                return self.say({"id": name, "modelId": name, "sha": COMMIT, "siblings": sizes})
            if path.startswith(f"{name}/resolve/"):
                file = path.removeprefix(f"{name}/resolve/").partition("/")[2]
                etag = f'"{hashlib.sha1(files[file]).hexdigest()}"'
                if with_body:
                    server.fetched.append(file)
                headers = {"ETag": etag, "X-Repo-Commit": COMMIT}
                return self.send(files[file], 200, headers, with_body)
        return self.say({}, 404, {"X-Error-Code": "RepoNotFound"})

    def body(self):
        return self.rfile.read(int(self.headers["Content-Length"]))

    def say(self, document, status=200, headers=None):
        self.send(json.dumps(document).encode(), status, headers or {})

    def send(self, body, status, headers, with_body=True):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body and self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *given):
        pass


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    server = StandIn()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def saved(tmp_path):
    dictionary = ReLU(2)
    dictionary.build(3, 2, torch.Generator().manual_seed(0))
    dictionary.name = "layer1/k2"
    dictionary.reads, dictionary.writes = Site.parse("fc1:in"), Site.parse("fc2:in")
    save(dictionary, tmp_path / "k2", scores={"unexplained": 0.25})
    (tmp_path / "k2" / "curves.csv").write_text("epoch,loss\n1,0.5\n")
    return tmp_path / "k2"


def pulled(hub, tmp_path, name="me/k2", **options):
    return pull(name, tmp_path / "got", endpoint=hub.endpoint, cache=tmp_path / "cache", **options)


def test_what_is_pushed_is_what_is_pulled(hub, saved, tmp_path):
    where = push(saved, "me/k2", endpoint=hub.endpoint, token="t", private=True)
    assert where == f"{hub.endpoint}/me/k2/commit/1"
    assert hub.private == {"me/k2": True}
    dictionary = pulled(hub, tmp_path)
    assert str(dictionary) == str(load(saved))
    x = torch.randn(5, 3)
    assert torch.equal(dictionary(x), load(saved)(x))
    for name in ("dictionary.json", "weights.safetensors", "curves.csv"):
        assert (tmp_path / "got" / name).read_bytes() == (saved / name).read_bytes()
    assert sorted(hub.fetched) == ["curves.csv", "dictionary.json", "weights.safetensors"]


def test_a_push_replaces_what_an_earlier_one_left_and_nothing_else(hub, saved, tmp_path):
    push(saved, "me/k2", card=Card(pictures={"density.svg": PICTURE}), endpoint=hub.endpoint)
    files = hub.repositories["me/k2"]
    assert files["pictures/density.svg"] == PICTURE
    files["notes.md"] = b"mine"
    save(load(saved), saved)
    push(saved, "me/k2", endpoint=hub.endpoint)
    assert sorted(files) == [
        "README.md",
        "dictionary.json",
        "notes.md",
        "weights.safetensors",
    ]
    assert hub.commits == ["me/k2", "me/k2"], "one commit each"


def test_a_damaged_dictionary_does_not_go_out(hub, saved):
    (saved / "weights.safetensors").write_bytes(b"junk")
    with pytest.raises(CorruptFile, match="checksum"):
        push(saved, "me/k2", endpoint=hub.endpoint)
    assert hub.repositories == {}


def test_a_damaged_dictionary_does_not_replace_a_sound_one(hub, saved, tmp_path):
    push(saved, "me/k2", endpoint=hub.endpoint)
    pulled(hub, tmp_path)
    before = (tmp_path / "got" / "weights.safetensors").read_bytes()
    hub.repositories["me/k2"]["weights.safetensors"] = b"junk"
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(CorruptFile, match=r"hub:me/k2 holds a damaged dictionary: .*checksum"):
        pulled(hub, tmp_path)
    assert (tmp_path / "got" / "weights.safetensors").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "got", "k2"]


def test_what_is_pulled_overwrites_nothing_else(hub, saved, tmp_path):
    push(saved, "me/k2", endpoint=hub.endpoint)
    (tmp_path / "got").mkdir()
    (tmp_path / "got" / "thesis.tex").write_text("years of work")
    with pytest.raises(InvalidInput, match="not a dictionary"):
        pulled(hub, tmp_path)
    assert hub.fetched == []


def test_a_header_cannot_ask_for_the_memory_of_the_machine(hub, saved, tmp_path):
    push(saved, "me/k2", endpoint=hub.endpoint)
    files = hub.repositories["me/k2"]
    header = json.loads(files["dictionary.json"])
    for width in (10**9, "many", None):
        header["choices"]["width"] = width
        files["dictionary.json"] = json.dumps(header).encode()
        with pytest.raises(CorruptFile, match=r"parameters|how large"):
            pulled(hub, tmp_path)
    files["dictionary.json"] = b" " * (16 * 2**20 + 1)
    hub.fetched.clear()
    with pytest.raises(InvalidInput, match=r"16,777,217 bytes.*not fetched"):
        pulled(hub, tmp_path)
    assert hub.fetched == []


def test_other_repositories_are_told_from_ours(hub, saved, tmp_path):
    hub.repositories["someone/text"] = {"README.md": b"#"}
    with pytest.raises(
        InvalidInput, match=r"no dictionary\.json and no weights\.safetensors, only README\.md"
    ):
        pulled(hub, tmp_path, "someone/text")
    hub.repositories["someone/saes"] = {"a/cfg.json": b"{}", "a/sae_weights.safetensors": b""}
    with pytest.raises(InvalidInput, match="import_saelens"):
        pulled(hub, tmp_path, "someone/saes")


def test_what_is_not_there_is_said(hub, saved, tmp_path):
    with pytest.raises(UnknownName, match="no repository 'nobody/nothing', or it is private"):
        pulled(hub, tmp_path, "nobody/nothing")
    push(saved, "me/k2", endpoint=hub.endpoint)
    with pytest.raises(UnknownName, match="hub:me/k2 has no revision 'lost'"):
        pulled(hub, tmp_path, revision="lost")
    with pytest.raises(InvalidInput, match="Write USER/NAME"):
        pull("k2", tmp_path / "got")
    with pytest.raises(UnknownName, match="Did you mean 'k2'"):
        push(tmp_path / "k3", "me/k2", endpoint=hub.endpoint)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_says_how_to_log_in(hub, saved, status):
    hub.refuse = status
    with pytest.raises((InvalidInput, UnknownName), match="hf auth login"):
        push(saved, "me/k2", endpoint=hub.endpoint, token="t")


def test_a_hub_that_does_not_answer_is_named(saved, tmp_path, monkeypatch):
    # The client waits before it tries again.
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(UnknownName, match=r"hub at http://127.*did not serve 'me/k2'"):
        push(saved, "me/k2", endpoint="http://127.0.0.1:9")
