"""Documents, pictures and writes over HTTP."""

import gzip
import json
from pathlib import Path

import pytest

from policyscope.cli import main
from policyscope.studies.labels import GivenLabel, Labels
from policyscope.studies.views.views import Views

LABEL = "/api/labels/layer2/k4/1"


@pytest.mark.parametrize(
    "path", ["overview", "features/layer2/k4", "feature/layer2/k4/2", "episodes/main"]
)
def test_a_document_is_that_of_the_views(client, path: str) -> None:
    answer = client.get(f"/api/{path}")
    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.document == Views(client.study).get(path)
    zipped = client.get(f"/api/{path}", headers={"Accept-Encoding": "gzip"})
    assert json.loads(gzip.decompress(zipped.body)) == answer.document


def test_the_page_is_sent_once(client) -> None:
    first = client.get("/app.js", headers={"Accept-Encoding": "gzip"})
    assert gzip.decompress(first.body) == client.get("/app.js").body
    again = client.get("/app.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status, again.body) == (304, b"")


def test_pictures_are_sent_again_only_when_they_changed(client) -> None:
    pytest.importorskip("pygame", reason="needs the extra [frames]")
    assert main(["frames", str(client.study.directory), "--episode", "0"]) == 0
    path = client.get("/api/clip/main/0").document["sheets"][0]["path"]
    first = client.get(f"/api/{path}")
    assert first.headers["content-type"] == "image/webp"
    assert first.body.startswith(b"RIFF")
    again = client.get(f"/api/{path}", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status, again.body) == (304, b"")


def test_what_is_not_there_says_so(client) -> None:
    for path, said in (
        ("nothing", "no view"),
        ("features/layer2/k5", "Did you mean 'layer2/k4'?"),
        ("feature/layer2/k4/99", "99"),
        ("jobs/none", "no job"),
        ("file/none.html", "No report"),
    ):
        answer = client.get(f"/api/{path}")
        assert answer.status == 404, path
        assert said in answer.error


def test_a_label_is_added_and_seen(client) -> None:
    given = {"text": " leans left ", "status": "tested", "author": "me", "revision": 0}
    answer = client.post(LABEL, given)
    assert answer.status == 200
    page = answer.document
    assert (page["label"], page["status"], page["revision"]) == ("leans left", "tested", 1)
    assert client.get("/api/feature/layer2/k4/1").document == page
    rows = client.get("/api/features/layer2/k4").document["features"]
    assert rows[1]["label"] == "leans left"


def test_of_two_who_label_at_once_both_are_kept(client) -> None:
    assert client.post(LABEL, {"text": "first", "status": "guess", "revision": 0}).status == 200
    second = client.post(LABEL, {"text": "second", "status": "guess", "revision": 0})
    assert second.status == 409
    assert "you had seen 0" in second.error
    assert [one["text"] for one in second.document["labels"]] == ["first", "second"]
    assert second.document["revision"] == 2


def test_labels_of_another_process_are_seen(client) -> None:
    Labels(client.study.directory).add(GivenLabel("layer2/k4", 1, "from elsewhere", "guess"))
    assert client.get("/api/feature/layer2/k4/1").document["label"] == "from elsewhere"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("layer2/k4/99", {"text": "a", "status": "guess"}, 404),
        ("layer2/k4/-1", {"text": "a", "status": "guess"}, 404),
        ("nothing/1", {"text": "a", "status": "guess"}, 404),
        ("layer2/k4/1", {"text": "", "status": "guess"}, 400),
        ("layer2/k4/1", {"text": "a\nb", "status": "guess"}, 400),
        ("layer2/k4/1", {"text": "a" * 300, "status": "guess"}, 400),
        ("layer2/k4/1", {"text": "a", "status": "sure"}, 400),
        ("layer2/k4/1", {"text": 3, "status": "guess"}, 400),
        ("layer2/k4/1", {"text": "a", "status": "guess", "source": "rules"}, 404),
    ],
)
def test_a_label_that_cannot_be_is_refused(client, path: str, body: dict, status: int) -> None:
    assert client.post(f"/api/labels/{path}", body).status == status
    assert not client.study.directory.joinpath("labels.jsonl").exists()


def test_a_report_is_written_and_can_be_fetched(client) -> None:
    wanted = {"features": ["layer2/k4#0", "layer2/k4#2"], "pages": ["features"]}
    answer = client.post("/api/report", wanted)
    assert answer.status == 201
    path = Path(client.study.directory, answer.document["path"])
    fetched = client.get("/" + answer.document["download"])
    assert fetched.body == path.read_bytes()
    assert fetched.headers["content-disposition"] == f'attachment; filename="{path.name}"'
    assert client.post("/api/report", {"pages": ["nothing"]}).status == 404
    assert client.post("/api/report", {"features": ["nothing"]}).status == 400
