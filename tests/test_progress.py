"""Progress: what is shown where, when, and that nothing is left behind. Time is a planted clock."""

import io
import sys

import pytest

from policyscope import progress
from policyscope.progress import PlainProgress, Progress, TerminalProgress, track


class Clock:
    """Seconds that pass when told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    """A stderr that somebody watches."""

    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.delenv("NO_PROGRESS", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    yield
    assert TerminalProgress.display is None, "a display was left open"


@pytest.fixture
def clock():
    return Clock()


def watch(monkeypatch):
    """Makes stderr a terminal, from within the test: pytest puts its own there before each."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    return terminal


def test_the_state_in_words(clock):
    work = Progress("recording", 2000, "steps", clock=clock)
    clock.now += 4
    work.advance(1000, "episode 3")
    assert work.state() == "1,000 of 2,000 (50%) steps, 250/s, 4 s left · episode 3"
    work.advance(500)
    assert work.note == "episode 3"
    assert work.rate == 375


def test_the_state_without_an_end_or_any_time(clock):
    work = Progress("reading", None, "files", clock=clock)
    work.advance()
    assert work.state() == "1 files, 0/s"
    clock.now += 4
    assert work.state() == "1 files, 0.25/s"


def test_nothing_to_do_is_no_division_by_zero(clock):
    assert Progress("nothing", 0, "steps", clock=clock).state() == "0 steps, 0/s"


def test_plain_lines_come_every_few_seconds_after_a_silence(clock, capsys):
    work = PlainProgress("fitting", 100, "epochs", clock=clock)
    for _ in range(10):
        clock.now += 1
        work.advance(10)
    work.close()
    assert capsys.readouterr().err.splitlines() == [
        "fitting: 20 of 100 (20%) epochs, 10/s, 8 s left",
        "fitting: 70 of 100 (70%) epochs, 10/s, 3 s left",
        "fitting: 100 of 100 (100%) epochs, 10/s, 0 s left",
    ]


def test_short_work_is_silent(clock, monkeypatch):
    terminal = watch(monkeypatch)
    for kind in (PlainProgress, TerminalProgress):
        work = kind("fitting", 2, "epochs", clock=clock)
        clock.now += 0.2
        work.advance(2)
        work.close()
    assert terminal.getvalue() == ""


def test_a_bar_on_the_terminal_shows_all_and_goes_away(clock, monkeypatch):
    terminal = watch(monkeypatch)
    work = TerminalProgress("[recording]", 2000, "steps", clock=clock)
    clock.now += 4
    work.advance(1000, "episode [3]")
    assert TerminalProgress.display is not None
    TerminalProgress.display.refresh()
    shown = terminal.getvalue()
    assert "[recording]" in shown
    assert "━" in shown
    assert "1,000 of 2,000 (50%) steps, 250/s, 4 s left · episode [3]" in shown
    work.close()
    after = terminal.getvalue().rpartition("episode [3]")[2]
    assert "\x1b[2K" in after, "the line was not erased"
    assert "\n" not in after, "an empty line stays"


def test_work_inside_other_work_shares_the_display(clock, monkeypatch):
    watch(monkeypatch)
    outer = TerminalProgress("outer", 2, "parts", clock=clock)
    inner = TerminalProgress("inner", None, "steps", clock=clock)
    clock.now += 1
    outer.advance()
    inner.advance()
    display = TerminalProgress.display
    assert display is not None
    assert [task.description for task in display.tasks] == ["outer", "inner"]
    inner.close()
    assert [task.description for task in display.tasks] == ["outer"]
    outer.close()


def test_the_bar_is_drawn_at_most_ten_times_a_second(clock, monkeypatch):
    watch(monkeypatch)
    work = TerminalProgress("fitting", None, "steps", clock=clock)
    clock.now += 1
    work.advance()
    clock.now += 0.05
    work.advance()
    assert TerminalProgress.display is not None
    assert TerminalProgress.display.tasks[0].completed == 1
    work.close()


@pytest.mark.parametrize(
    ("watched", "variables", "kind"),
    [
        (True, {}, TerminalProgress),
        (True, {"TERM": "dumb"}, PlainProgress),
        (True, {"NO_PROGRESS": "1"}, Progress),
        (False, {}, PlainProgress),
        (False, {"NO_PROGRESS": "1"}, Progress),
    ],
)
def test_what_is_shown_depends_on_who_watches(monkeypatch, watched, variables, kind):
    monkeypatch.setattr(sys, "stderr", Terminal() if watched else io.StringIO())
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with track("fitting", 3, "epochs") as work:
        assert type(work) is kind
        assert (work.label, work.total, work.unit) == ("fitting", 3, "epochs")


def test_the_display_ends_also_on_exceptions(monkeypatch):
    watch(monkeypatch)
    monkeypatch.setattr(progress, "BAR_SILENCE_SECONDS", 0.0)

    def fail():
        with track("fitting", 3, "epochs") as work:
            work.advance()
            assert TerminalProgress.display is not None
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert TerminalProgress.display is None


def test_stdout_of_a_pipe_is_left_alone(monkeypatch):
    watch(monkeypatch)
    monkeypatch.setattr(progress, "BAR_SILENCE_SECONDS", 0.0)
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stdout", pipe)
    with track("fitting", 3, "epochs") as work:
        work.advance()
        print("a result")
    assert pipe.getvalue() == "a result\n"
