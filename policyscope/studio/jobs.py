"""Experiments in the background: one at a time, each in a process of its own.

A process can be stopped at any point without harm to the server, and what it has committed by then
stays. It is told to stop by the end of its stdin, which also comes when the server dies.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from policyscope.chat import LanguageModel
from policyscope.errors import InvalidInput, UnknownName
from policyscope.studies.study import Study
from policyscope.studio.received import check_call

State = Literal["waiting", "running", "done", "failed", "cancelled"]
RESULTS = {
    "sweep": "experiment/{name}/sweep",
    "nudge": "experiment/{name}/nudge",
    "evaluate": "experiment/evaluate",
    "features": "features/{name}",
    "label": "features/{name}",
    "score": "dictionary/{name}",
}
"""The verbs that may run, and where their results are to be seen."""
MOST_WAITING = 32
MOST_KEPT = 100
SECONDS_TO_STOP = 10.0


@dataclass
class Job:
    """One experiment, and how far it is."""

    verb: str
    arguments: dict[str, Any]
    id: str = field(default_factory=lambda: uuid4().hex[:12])
    state: State = "waiting"
    done: int = 0
    total: int | None = None
    note: str = ""
    error: str | None = None
    process: "subprocess.Popen[str] | None" = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come of it."""
        return self.state in ("done", "failed", "cancelled")

    @property
    def result(self) -> str | None:
        """Where its result is, once it is there."""
        if self.state != "done":
            return None
        given = self.arguments.get("dictionary")
        several = isinstance(given, list)
        name = ("all" if len(given) > 1 else given[0]) if several and given else given
        return RESULTS[self.verb].format(name=name)

    def hear(self, line: str) -> None:
        """Takes in a line that the process wrote."""
        try:
            said = json.loads(line)
        except ValueError:
            return
        if not isinstance(said, dict):
            return
        if "progress" in said:
            self.done, self.total = said["done"], said["total"]
            self.note = " · ".join(filter(None, (said["progress"], said["note"])))
        self.error = said.get("error", self.error)

    def to_json(self) -> dict[str, Any]:
        """The job as the pages take it."""
        shown = ("id", "verb", "arguments", "state", "done", "total", "note", "error", "result")
        return {name: getattr(self, name) for name in shown}


class Jobs:
    """The experiments of one study, in the order in which they were asked for."""

    def __init__(
        self, study: Study, *, trust: bool = False, model: LanguageModel | None = None
    ) -> None:
        self.study = study
        self.trust = trust
        self.model = model
        self._jobs: dict[str, Job] = {}
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread: threading.Thread | None = None

    def start(self, verb: str, arguments: Mapping[str, Any]) -> Job:
        """A new job, run when those before it are over; raises an error for arguments no verb has.

        Raises UnknownName or InvalidInput before anything runs.
        """
        if verb not in RESULTS:
            raise UnknownName.among("verb", verb, RESULTS)
        arguments = check_call(verb, getattr(Study, verb), arguments)
        if "llm" in arguments:
            # A page says what is asked, and never where the key is sent to.
            raise InvalidInput("The language model is the one that the studio was started with.")
        if verb == "label":
            if self.model is None:
                raise InvalidInput("No language model is set up. Start the studio with --llm.")
            arguments["llm"] = [self.model.url, self.model.name]
        named = arguments.get("dictionary", [])
        for name in named if isinstance(named, list) else [named]:
            if name not in self.study.dictionaries():
                raise UnknownName.among("dictionary", name, self.study.dictionaries())
        if named == [] and "dictionary" in arguments:
            raise InvalidInput(f"{verb} needs at least one dictionary.")
        job = Job(verb, arguments)
        with self._changed:
            if sum(not one.is_over for one in self._jobs.values()) >= MOST_WAITING:
                raise InvalidInput(f"{MOST_WAITING} experiments are waiting already.")
            self._jobs[job.id] = job
            for old in [one.id for one in self._jobs.values() if one.is_over][:-MOST_KEPT]:
                del self._jobs[old]
            if self._thread is None:
                self._thread = threading.Thread(target=self._run_all, name="jobs", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        return job

    def list(self) -> list[Job]:
        """All jobs, the newest first."""
        with self._changed:
            return list(reversed(self._jobs.values()))

    def get(self, id: str) -> Job:
        """A job by its id."""
        with self._changed:
            if id not in self._jobs:
                raise UnknownName(f"There is no job {id!r}; old ones are forgotten.")
            return self._jobs[id]

    def cancel(self, id: str) -> Job:
        """Stops a job, or takes back one that waits; does nothing to one that is over."""
        job = self.get(id)
        with self._changed:
            if not job.is_over:
                job.state = "cancelled"
            if job.process is not None:
                stop(job.process)
            self._changed.notify_all()
        return job

    def wait(self, id: str, seconds: float | None = None) -> Job:
        """The job once it is over, or after so many seconds."""
        job = self.get(id)
        with self._changed:
            self._changed.wait_for(lambda: job.is_over and job.process is None, seconds)
        return job

    def close(self) -> None:
        """Stops everything."""
        with self._changed:
            self._is_closed = True
            for job in self._jobs.values():
                if not job.is_over:
                    job.state = "cancelled"
                if job.process is not None:
                    stop(job.process)
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(2 * SECONDS_TO_STOP)

    # --- inside ------------------------------------------------------------------------------

    def _next(self) -> Job | None:
        """The next job to run, once there is one; None when there will be none."""

        def waiting() -> Job | None:
            return next((one for one in self._jobs.values() if one.state == "waiting"), None)

        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or waiting() is not None)
            job = waiting()
            if job is None or self._is_closed:
                return None
            job.state = "running"
            job.process = begin(self.study.directory, job, trust=self.trust)
            return job

    def _run_all(self) -> None:
        while (job := self._next()) is not None:
            process = job.process
            assert process is not None
            assert process.stderr is not None
            last = ""
            for line in process.stderr:
                job.hear(line)
                last = line.strip() or last
            code = process.wait()
            process.stderr.close()
            with self._changed:
                hang_up(process)
                job.process = None
                if job.state == "running":
                    job.state = "done" if code == 0 else "failed"
                if job.state == "failed" and job.error is None:
                    job.error = last or f"The process ended with code {code}."
                self._changed.notify_all()


def begin(directory: Path, job: Job, *, trust: bool) -> "subprocess.Popen[str]":
    """The process of a job; see `policyscope.studio.work`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "policyscope.studio.work", str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "POLICYSCOPE_PROGRESS": "json", "NO_PROGRESS": ""},
        # What interrupts the server must not interrupt it a second time.
        start_new_session=True,
    )
    assert process.stdin is not None
    order = {"verb": job.verb, "arguments": job.arguments, "trust": trust}
    # Where it is gone already, its exit code says why.
    with suppress(OSError):
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
    return process


def stop(process: "subprocess.Popen[str]") -> None:
    """Asks a process to stop, and sees to it that it does."""
    hang_up(process)
    killer = threading.Timer(SECONDS_TO_STOP, process.kill)
    killer.daemon = True
    killer.start()


def hang_up(process: "subprocess.Popen[str]") -> None:
    """Closes the pipe to a process, whatever became of its other end."""
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()
