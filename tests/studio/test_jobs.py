"""Experiments run in processes of their own, one at a time, and end when they are told to."""

from collections.abc import Iterator

import pytest

from policyscope.chat import LanguageModel
from policyscope.errors import InvalidInput, UnknownName
from policyscope.studies.labels import Labels
from policyscope.studies.study import Study
from policyscope.studio.jobs import MOST_WAITING, Job, Jobs
from policyscope.testing.chat_server import ChatServer, reply

SECONDS = 60.0
LONG = {"episodes": 200_000}


@pytest.fixture
def jobs(own_study: Study) -> Iterator[Jobs]:
    made = Jobs(own_study)
    yield made
    made.close()


@pytest.mark.slow
def test_an_experiment_runs_and_its_result_is_kept(jobs: Jobs, own_study: Study) -> None:
    job = jobs.start("evaluate", {"episodes": 5})
    assert jobs.wait(job.id, 2 * SECONDS).to_json() | {"note": ""} == {
        "id": job.id,
        "verb": "evaluate",
        "arguments": {"episodes": 5},
        "state": "done",
        "done": 5,
        "total": 5,
        "note": "",
        "error": None,
        "result": "experiment/evaluate",
    }
    kept = own_study.result("experiments", "evaluate.json")
    assert kept is not None
    assert kept["episodes"] == 5


@pytest.mark.slow
def test_a_cancelled_experiment_ends_and_the_next_one_begins(jobs: Jobs, own_study: Study) -> None:
    job = jobs.start("evaluate", LONG)
    last = jobs.start("features", {"dictionary": "layer2/k4", "recording": "none"})
    unwanted = jobs.start("evaluate", {"episodes": 5})
    assert [one.id for one in jobs.list()] == [unwanted.id, last.id, job.id]
    while not job.done and not job.is_over:
        jobs.wait(job.id, 0.05)
    assert (job.state, job.total) == ("running", 200_000)
    assert jobs.cancel(unwanted.id).state == "cancelled"
    jobs.cancel(job.id)
    assert jobs.wait(job.id, SECONDS).state == "cancelled"
    assert job.process is None
    assert own_study.result("experiments", "evaluate.json") is None
    failed = jobs.wait(last.id, 2 * SECONDS)
    assert failed.state == "failed"
    assert "No recording called 'none'" in str(failed.error)
    assert unwanted.process is None


@pytest.mark.slow
def test_closing_ends_what_runs(own_study: Study) -> None:
    jobs = Jobs(own_study)
    job = jobs.start("evaluate", LONG)
    while job.process is None:
        jobs.wait(job.id, 0.05)
    process = job.process
    jobs.close()
    assert process.returncode is not None


@pytest.mark.parametrize(
    ("verb", "arguments", "said"),
    [
        ("forget", {}, "No verb called 'forget'"),
        ("sweep", {}, "sweep needs dictionary"),
        ("sweep", {"dictionary": "layer2/k4", "episods": 3}, "Did you mean 'episodes'?"),
        ("sweep", {"dictionary": "layer2/k5"}, "Did you mean 'layer2/k4'?"),
        ("nudge", {"dictionary": []}, "at least one"),
        ("evaluate", {"episodes": "many"}, "expected a whole number"),
    ],
)
def test_what_cannot_run_is_refused_before(
    jobs: Jobs, verb: str, arguments: dict, said: str
) -> None:
    with pytest.raises((UnknownName, InvalidInput), match="(?s)" + said.replace("?", r"\?")):
        jobs.start(verb, arguments)
    assert jobs.list() == []


def test_a_page_does_not_choose_which_server_is_asked(own_study: Study) -> None:
    with pytest.raises(InvalidInput, match="Start the studio with --llm"):
        Jobs(own_study).start("label", {"dictionary": "layer2/k4"})
    jobs = Jobs(own_study, model=LanguageModel("http://127.0.0.1:1/v1", "planted"))
    for verb in ("label", "features"):
        given = {"dictionary": "layer2/k4", "llm": ["http://127.0.0.1:2/v1", "other"]}
        with pytest.raises((InvalidInput, UnknownName)):
            jobs.start(verb, given)
    assert jobs.list() == []


@pytest.mark.slow
def test_a_feature_is_labelled_in_the_background(own_study: Study) -> None:
    found = {"label": "leans right", "condition": [{"metric": "pole_angle", "above": 0}]}
    with ChatServer([reply(found)]) as server:
        jobs = Jobs(own_study, model=LanguageModel(server.url, "planted"))
        try:
            index = alive_in(own_study)
            job = jobs.start("label", {"dictionary": "layer2/k4", "features": [index]})
            assert jobs.wait(job.id, 2 * SECONDS).state == "done", job.error
            server.answers = [reply("I'm sorry, but no.")]
            again = {"dictionary": "layer2/k4", "features": [index], "again": True}
            failed = jobs.wait(jobs.start("label", again).id, 2 * SECONDS)
            assert failed.state == "failed"
            assert "The model refused" in str(failed.error)
        finally:
            jobs.close()
    (label,) = Labels(own_study.directory).of("layer2/k4", index)
    assert (label.text, label.author) == ("leans right", "planted")


def alive_in(study: Study) -> int:
    table = study.result("features", "layer2/k4", "features.json") or {}
    return next(card["index"] for card in table["features"] if card["label"]["rule"])


def test_what_a_process_says_is_progress_an_error_or_nothing() -> None:
    job = Job("sweep", {"dictionary": "a"}, state="running")
    for line in ("a warning", "[]", '{"progress": "steering", "done": 3, "total": 9, "note": "x"}'):
        job.hear(line)
    assert (job.done, job.total, job.note) == (3, 9, "steering · x")
    assert job.result is None
    job.hear('{"error": "no"}')
    assert job.error == "no"


def test_a_result_is_where_its_verb_keeps_it() -> None:
    def result(verb: str, **arguments: object) -> str | None:
        return Job(verb, arguments, state="done").result

    assert result("sweep", dictionary="layer2/k4") == "experiment/layer2/k4/sweep"
    assert result("nudge", dictionary=["a"]) == "experiment/a/nudge"
    assert result("nudge", dictionary=["a", "b"]) == "experiment/all/nudge"
    assert result("evaluate") == "experiment/evaluate"


@pytest.mark.slow
def test_jobs_over_http(client) -> None:
    started = client.post("/api/jobs", {"verb": "evaluate", "arguments": LONG})
    assert started.status == 201
    job = started.document
    assert job["state"] in ("waiting", "running")
    assert client.get("/api/jobs").document["jobs"][0]["id"] == job["id"]
    for _ in range(MOST_WAITING - 1):
        assert client.post("/api/jobs", {"verb": "evaluate", "arguments": {}}).status == 201
    full = client.post("/api/jobs", {"verb": "evaluate", "arguments": {}})
    assert full.status == 400
    assert "waiting already" in full.error
    stopped = client.ask("DELETE", f"/api/jobs/{job['id']}").document
    assert stopped["state"] == "cancelled"
    assert client.get(f"/api/jobs/{job['id']}").document["state"] == "cancelled"
    assert client.ask("DELETE", "/api/jobs/none").status == 404
