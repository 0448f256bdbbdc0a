"""Bad input as a user meets it: exit code 1, one line that says what to do, nothing lost."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from policyscope.agents.agent_file import save_agent
from policyscope.agents.architectures import MLP
from policyscope.recordings.recording import Recording

LAYER = "layer2/k4"
SITES = ("--reads", "fc2:in", "--writes", "fc3:in")
QUICK = ("--seeds", "1", "--epochs", "1")
RELU = ("relu", "--width", "4")
SHARD = "recordings/main/shards/00000000.safetensors"
LONG = "x" * 300

ENVIRONMENTS = '''
import gymnasium, numpy as np

class Counts(gymnasium.Env):
    """Shows noise beside a zero, ends after `length` steps and breaks at step `breaks`."""

    observation_space = gymnasium.spaces.Box(-1, 1, (4,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, length=5, breaks=-1, flat=False):
        self.length, self.breaks, self.flat, self.steps = length, breaks, flat, 0

    def look(self):
        noise = self.np_random.uniform(-1, 1, 4).astype(np.float32)
        return np.zeros(4, np.float32) if self.flat else noise * np.float32([0, 1, 1, 1])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.step_of_episode = 0
        return self.look(), {}

    def step(self, action):
        self.step_of_episode += 1
        self.steps += 1
        if self.steps == self.breaks:
            raise ValueError("the simulator broke")
        over = self.step_of_episode >= self.length
        return self.look(), 1.0, over, False, {}

class Continuous(Counts):
    action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)

class ThreeActions(Counts):
    action_space = gymnasium.spaces.Discrete(3)

class Unlicensed(Counts):
    def __init__(self):
        raise RuntimeError("the licence has expired")

for kind in (Counts, Continuous, ThreeActions, Unlicensed):
    gymnasium.register(f"{kind.__name__}-v0", entry_point=kind)
'''


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a module of the user's own environments in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "worlds.py").write_text(ENVIRONMENTS, "utf-8")
    return tmp_path


def untouched(study: Path) -> None:
    """What the study holds is whole."""
    Recording.open(study / "recordings" / "main").verify()


# --- names that are not there --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("features", "layer2/k5"), "No dictionary called 'layer2/k5'. Did you mean 'layer2/k4'?"),
        (("sweep", "none"), "No dictionary called 'none'. Known: layer2/k4."),
        (("features", LAYER, "--recording", "mian"), "No recording called 'mian'. Did you mean"),
        (("sweep", LAYER, "--feature", "9"), "No feature 9 in layer2/k4. It has 4 features, 0 to"),
        (("nudge", LAYER, "--feature", "-1"), "No feature -1 in layer2/k4"),
        (("record", "--name", "n", "--steps", "9", "--site", "fc9:in"), "No site called 'fc9"),
        (("record", "--name", "n", "--steps", "9", "--site", "fc2:on"), "is not a site. Write"),
        (
            ("record", "--name", "n", "--steps", "9", "--site", "fc2:in", "--metric", "pole_angel"),
            "No metric for CartPole-v1 called 'pole_angel'. Did you mean 'pole_angle'?",
        ),
        (
            ("fit", "--reads", "fc1:out", "--writes", "fc3:in", *QUICK, *RELU),
            "No recorded site in 'main' called 'fc1:out'. Did you mean 'fc1:in'?",
        ),
        (("fit", *SITES, "--recording", "none", *QUICK, *RELU), "No recording called 'none'."),
        (("export", "none", "--out", "x.pth"), "No dictionary called 'none'."),
    ],
)
def test_unknown_name_lists_what_is_known(command, study: Path, words, said: str) -> None:
    assert said in command(words[0], study, *words[1:]).complaint
    untouched(study)


def test_unknown_study_names_its_neighbours(command, study: Path) -> None:
    complaint = command("evaluate", study.parent / "studdy").complaint
    assert f"Did you mean '{study}'?" in complaint
    assert "policyscope new" in complaint


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ("CartPole-v9", "Did you mean 'CartPole-v1'?"),
        ("", "No environment called ''."),
        ("nosuch:Foo-v0", "wants module 'nosuch'"),
        (":CartPole-v1", "cannot be made"),
        ("worlds:Count-v0", "No environment called 'Count-v0'. Did you mean 'Counts-v0'?"),
        ("worlds:Unlicensed-v0", "cannot be made: the licence has expired"),
        ("worlds:Continuous-v0", "chooses one of 2 actions"),
        ("worlds:ThreeActions-v0", "takes Discrete(3)"),
        ("Acrobot-v1", "tiny cannot act in Acrobot-v1, which observes Box("),
        ("Pendulum-v1", "tiny cannot act in Pendulum-v1"),
    ],
)
def test_environment_that_does_not_fit_is_refused_at_new(
    command, home: Path, agent_file: Path, env: str, said: str
) -> None:
    assert said in command("new", "s", "--agent", agent_file, "--env", env).complaint
    assert not Path("s").exists()


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ("nonsense", "write it as name=value"),
        ("=3", "write it as name=value"),
        ("foo=1", "cannot be made with {'foo': 1}"),
        ("rows=3", "cannot be made with {'rows': 3}"),
        ("id=3", "cannot be made with {'id': 3}"),
        ("max_episode_steps=-3", "to be positive, actually: -3"),
    ],
)
def test_nonsense_environment_arguments_are_refused(
    command, agent_file: Path, tmp_path: Path, pair: str, said: str
) -> None:
    done = command("new", tmp_path / "s", "--agent", agent_file, "--env-arg", pair)
    assert said in done.complaint


@pytest.mark.parametrize(
    ("agent", "said"),
    [
        ("none.safetensors", "no agent file"),
        ("none", "'none' is not an agent"),
        ("nosuch:function", "there is no module 'nosuch'"),
        ("zoo:cartpol", "Did you mean 'cartpole'?"),
        ("json:lods", "Did you mean 'loads'?"),
        ("worlds.py", "worlds.py"),
    ],
)
def test_unknown_agent_is_refused(command, home: Path, agent: str, said: str) -> None:
    assert said in command("inspect", agent).complaint
    assert said in command("new", "s", "--agent", agent).complaint


def test_inspecting_in_a_foreign_environment_is_refused(command, agent_file: Path) -> None:
    complaint = command("inspect", agent_file, "--env", "Pendulum-v1").complaint
    assert "tiny cannot act in Pendulum-v1" in complaint


# --- numbers that make no sense ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("evaluate", "--episodes", "0"), "episodes is 0; expected at least 1."),
        (("evaluate", "--episodes", "-2"), "episodes is -2; expected at least 1."),
        (("record", "--site", "fc2:in", "--name", "n", "--steps", "0"), "steps is 0;"),
        (("record", "--site", "fc2:in", "--name", "n", "--steps", "-5"), "steps is -5;"),
        (("record", "--site", "fc2:in", "--name", "n", "--episodes", "0"), "episodes is 0;"),
        (("record", "--site", "fc2:in", "--name", "n"), "steps (--steps N) or episodes"),
        (
            ("record", "--site", "fc2:in", "--name", "n", "--steps", "9", "--rows", "0"),
            "rows is 0; expected at least 1.",
        ),
        (("record", "--site", "fc2:in", "--name", "n", "--steps", str(10**15)), "needs"),
        (("record", "--site", "fc2:in", "--steps", "9"), "There is a recording in"),
        (("fit", *SITES, *QUICK, "relu", "--width", "0"), "width 0; give at least 1"),
        (("fit", *SITES, *QUICK, "relu", "--width", "-3"), "width -3; give at least 1"),
        (("fit", *SITES, *QUICK, *RELU, "--penalty", "nan"), "penalty is nan;"),
        (("fit", *SITES, *QUICK, *RELU, "--penalty", "-1"), "penalty is -1.0;"),
        (("fit", *SITES, *QUICK, *RELU, "--penalties", "nan"), "penalty is nan;"),
        (("fit", *SITES, *RELU, "--epochs", "0"), "epochs is 0;"),
        (("fit", *SITES, *RELU, "--seeds", "0"), "seeds is 0;"),
        (("fit", *SITES, *RELU, "--batch-size", "0"), "batch_size is 0;"),
        (("fit", *SITES, *RELU, "--learning-rate", "nan"), "learning_rate is nan;"),
        (("features", LAYER, "--top", "0"), "count"),
        (("score", LAYER, "--episodes", "-1"), "episodes is -1; expected at least 0."),
        (("sweep", LAYER, "--episodes", "0"), "at least 2 episodes per condition; got 0."),
        (("sweep", LAYER, "--alpha", "nan"), "finite strengths"),
        (("sweep", LAYER, "--alpha", "1", "1"), "+1"),
        (("sweep", LAYER, "--random-directions", "-1"), "random directions"),
        (("nudge", LAYER, "--episodes", "0"), "at least 2 search seeds"),
        (("nudge", LAYER, "--confirm", "1"), "at least 2 confirm seeds"),
        (("nudge", LAYER, "--alpha", "inf"), "alpha is inf"),
    ],
)
def test_numbers_without_sense_are_refused(command, study: Path, words, said: str) -> None:
    assert said in command(words[0], study, *words[1:]).complaint
    untouched(study)


@pytest.mark.parametrize("name", ["../out", "", "a b", ".hidden", "a//b", "/abs", LONG])
def test_names_that_are_no_names_are_refused(command, study: Path, name: str) -> None:
    one = command("record", study, "--site", "fc2:in", "--steps", 9, "--name", name).complaint
    two = command("fit", study, *SITES, *QUICK, "--name", name, *RELU)
    if name == LONG:
        assert "File name too long" in one
        assert "File name too long" in two.complaint
    else:
        assert "cannot name a recording" in one
        if name:  # an empty name means the default one
            assert "cannot name a dictionary" in two.complaint


def test_names_in_any_script_and_in_folders_work(command, made_study: Path, tmp_path: Path) -> None:
    study = tmp_path / "étude 研究 🤖"
    shutil.copytree(made_study, study)
    name = "реплика/prise-1"
    sites = ("--site", "fc2:in", "fc3:in")
    assert command("record", study, *sites, "--episodes", 6, "--name", name).code == 0
    fit = ("--recording", name, "--name", "словарь/k2", *QUICK, "relu", "--width", 2)
    assert command("fit", study, *SITES, *fit).code == 0
    found = command("features", study, "словарь/k2", "--json").document
    assert found["recording"] == name
    moments = [top["moment"] for card in found["features"] for top in card["top"]]
    assert all(moment.startswith(f"{name}/ep") for moment in moments)
    assert command("report", study).code == 0


# --- files that are not what they were -----------------------------------------------------------


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}), "utf-8")


def test_newer_formats_ask_for_an_update(command, study: Path) -> None:
    edit(study / "dictionaries" / LAYER / "dictionary.json", format=2)
    assert "has format 2" in command("features", study, LAYER).complaint
    edit(study / "recordings/main/recording.json", format_version=2)
    assert "has format version 2" in command("fit", study, *SITES, *QUICK, *RELU).complaint
    edit(study / "study.json", format=2)
    complaint = command("evaluate", study).complaint
    assert "has study format 2" in complaint
    assert "pip install --upgrade policyscope" in complaint


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"format": "1"}', '{"format": 1}', '{"format": 1, "agent": 3}'],
)
def test_damaged_manifest_is_named(command, study: Path, content: str) -> None:
    (study / "study.json").write_text(content)
    assert "study.json" in command("evaluate", study).complaint


def test_manifest_without_a_key_is_named(command, study: Path) -> None:
    edit(study / "study.json", environment={})
    assert "lacks environment with arguments, id" in command("evaluate", study).complaint


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0x40
    path.write_bytes(content)


def test_damaged_shard_is_named_with_its_column(command, study: Path) -> None:
    # The header ends where the columns, of which the widest come first, begin.
    flip(study / SHARD, (study / SHARD).stat().st_size // 2)
    for words in (("features", study, LAYER), ("fit", study, *SITES, *QUICK, *RELU)):
        complaint = command(*words).complaint
        assert re.search(r"00000000.safetensors is damaged in column 'fc\d:in'", complaint)
    # What does not need the column goes on.
    assert command("evaluate", study, "--episodes", 2).code == 0


@pytest.mark.parametrize("length", [0, 100, 30_000])
def test_truncated_shard_is_named(command, study: Path, length: int) -> None:
    os.truncate(study / SHARD, length)
    resume = ("--site", "fc1:in", "fc2:in", "fc3:in", "--steps", 2000, "--resume")
    for words in (
        ("features", study, LAYER),
        ("score", study, LAYER),
        ("record", study, *resume),
        ("report", study),
    ):
        assert "00000000.safetensors is" in command(*words).complaint


def test_damaged_dictionary_is_named(command, study: Path) -> None:
    folder = study / "dictionaries" / LAYER
    flip(folder / "weights.safetensors", -5)
    for verb in ("features", "score", "sweep", "nudge"):
        assert "weights.safetensors is damaged" in command(verb, study, LAYER).complaint
    (folder / "weights.safetensors").unlink()
    assert "weights.safetensors is missing" in command("features", study, LAYER).complaint
    (folder / "dictionary.json").write_text("{")
    assert "dictionary.json is not the header" in command("features", study, LAYER).complaint


def test_half_written_dictionary_is_not_one(command, study: Path) -> None:
    folder = study / "dictionaries" / LAYER
    shutil.copytree(folder, folder.parent / ".k4.killed" / "new")
    assert "Known: layer2/k4." in command("features", study, "none").complaint


def test_damaged_agent_is_named(command, study: Path) -> None:
    agent = study / json.loads((study / "study.json").read_text("utf-8"))["agent"]["file"]
    flip(agent, -3)
    complaint = command("evaluate", study).complaint
    assert f"{agent.name} is damaged" in complaint
    assert "Restore it from a copy" in complaint
    os.truncate(agent, 200)
    assert "not a readable safetensors file" in command("evaluate", study).complaint
    agent.unlink()
    assert agent.name in command("evaluate", study).complaint


def test_agent_whose_weights_changed_needs_a_new_study(command, home: Path) -> None:
    (home / "mine.py").write_text(
        "import pathlib, torch\n"
        "from policyscope.agents.architectures import MLP\n"
        "def agent():\n"
        "    torch.manual_seed(int(pathlib.Path('seed').read_text()))\n"
        "    return MLP([4, 2])\n"
    )
    Path("seed").write_text("1")
    env = ("--env", "CartPole-v1")
    assert command("new", "s", "--agent", "mine:agent", *env).code == 0
    assert command("evaluate", "s", "--episodes", 2).code == 0
    Path("seed").write_text("2")
    complaint = command("evaluate", "s", "--episodes", 2).complaint
    assert "The agent of s has changed" in complaint
    assert "Make a new study" in complaint


def test_result_that_is_damaged_is_named(command, study: Path) -> None:
    assert command("features", study, LAYER).code == 0
    (study / "features" / LAYER / "features.json").write_text('{"features": [')
    words = ("--alpha", 1, "--episodes", 2, "--random-directions", 0)
    assert "features.json is not JSON" in command("sweep", study, LAYER, *words).complaint
    # Making it again mends it.
    assert command("features", study, LAYER).code == 0
    assert command("sweep", study, LAYER, *words).code == 0


# --- statistics that cannot be had ---------------------------------------------------------------


def counting(command, agent_file: Path, name: str, *arguments: str) -> Path:
    """A study, below the current folder, of an environment that is told when to end and break."""
    pairs = ("--env-arg", *arguments) if arguments else ()
    made = command("new", name, "--agent", agent_file, "--env", "worlds:Counts-v0", *pairs)
    assert made.code == 0
    return Path(name)


def test_constant_metric_is_said_to_be(command, home: Path, agent_file: Path) -> None:
    (home / "readings.py").write_text(
        "import policyscope as ps\n"
        "@ps.metric(unit='m', environments=('worlds:Counts-v0',))\n"
        "def height(step):\n"
        "    return step.observation[:, 0]\n"
    )
    study = counting(command, agent_file, "s")
    words = ("--site", "fc2:in", "--metric", "readings:height", "--episodes", 12)
    assert command("record", study, *words).code == 0
    fit = ("--reads", "fc2:in", "--writes", "fc2:in", "--name", "flat", *QUICK, *RELU)
    assert command("fit", study, *fit).code == 0
    for card in command("features", study, "flat", "--json").document["features"]:
        assert card["correlations"]["height"]["r"] is None
        assert card["correlations"]["height"]["note"]
    # An agent that returns the same whatever it does keeps no measurable share of it.
    found = command("score", study, "flat", "--episodes", 2, "--json").document
    assert found["return_kept"]["value"] is None
    small = ("--alpha", 1, "--episodes", 2, "--random-directions", 2)
    swept = command("sweep", study, "flat", *small, "--json").document
    assert {c["difference"] for c in swept["conditions"]} == {0.0}
    sought = command("nudge", study, "flat", *small, "--confirm", 2, "--json").document
    assert sought["found"] is False
    assert command("report", study).code == 0


def test_constant_activations_are_refused_by_fit(command, home: Path, agent_file: Path) -> None:
    study = counting(command, agent_file, "s", "flat=true")
    assert command("record", study, "--site", "fc2:in", "--episodes", 6).code == 0
    fit = ("--reads", "fc2:in", "--writes", "fc2:in", *QUICK, *RELU)
    assert "units are constant" in command("fit", study, *fit).complaint


@pytest.fixture
def dead(command, study: Path) -> Path:
    """A study whose dictionary never fires."""
    from policyscope.dictionaries.file import load, read_header, save

    folder = study / "dictionaries" / LAYER
    dictionary, notes = load(folder), read_header(folder)["notes"]
    with torch.no_grad():
        dictionary.get_submodule("encoder.0").get_parameter("bias").fill_(-1e6)
    save(dictionary, folder, notes=notes)
    return study


def test_feature_that_never_fires_is_said_to_be_dead(command, dead: Path) -> None:
    for card in command("features", dead, LAYER, "--json").document["features"]:
        assert card["dead"] is True
        assert card["correlations"]["pole_angle"]["r"] is None
    assert command("score", dead, LAYER, "--episodes", 2, "--json").document["dead"] == 1.0
    small = ("--alpha", 1, "--episodes", 2, "--random-directions", 2)
    assert len(command("sweep", dead, LAYER, *small, "--json").document["conditions"]) == 4
    nudge = command("nudge", dead, LAYER, *small, "--confirm", 2, "--json")
    assert len(nudge.document["candidates"]) == 4
    assert command("report", dead).code == 0


def test_one_episode_is_too_few_for_intervals_but_not_for_an_answer(command, study: Path) -> None:
    words = ("--site", "fc2:in", "fc3:in", "--episodes", 1, "--name", "short")
    assert command("record", study, *words).code == 0
    found = command("features", study, LAYER, "--recording", "short", "--json").document
    assert found["episodes"] == 1
    for card in found["features"]:
        assert card["correlations"] == {}
        assert card["label"] is None
    assert command("features", study, LAYER, "--recording", "short").code == 0
    fit = ("--recording", "short", "--name", "s", *QUICK, *RELU)
    assert command("fit", study, *SITES, *fit).code == 0
    assert command("score", study, "s", "--episodes", 1).code == 0
    assert command("evaluate", study, "--episodes", 1).code == 0
    assert command("report", study).code == 0


def test_recording_without_the_needed_site_is_named(command, study: Path) -> None:
    assert command("record", study, "--site", "fc1:in", "--steps", 50, "--name", "other").code == 0
    for words in (
        ("fit", study, *SITES, "--recording", "other", *QUICK, *RELU),
        ("features", study, LAYER, "--recording", "other"),
        ("score", study, LAYER, "--recording", "other"),
    ):
        complaint = command(*words).complaint
        assert "fc2:in" in complaint
        assert "other" in complaint


def test_resuming_under_other_choices_is_refused(command, study: Path) -> None:
    words = ("--site", "fc2:in", "--steps", 2000, "--resume")
    assert "was recorded otherwise" in command("record", study, *words).complaint
    same = ("--site", "fc1:in", "fc2:in", "fc3:in", "--steps", 2000, "--resume")
    assert "seed" in command("record", study, *same, "--seed", 1).complaint
    untouched(study)


# --- a world that breaks -------------------------------------------------------------------------


def test_environment_that_raises_keeps_what_was_recorded(
    command, home: Path, agent_file: Path
) -> None:
    study = counting(command, agent_file, "s", "breaks=42", "length=10")
    record = ("record", study, "--site", "fc2:in", "--rows", 1, "--steps")
    complaint = command(*record, 100).complaint
    assert "worlds:Counts-v0 failed while playing episode 4" in complaint
    assert "at step 1" in complaint
    assert "the simulator broke" in complaint
    assert "go on with --resume" in complaint
    kept = Recording.open(study / "recordings/main")
    kept.verify()
    assert (kept.steps, len(kept.episodes)) == (41, 4)
    # Its counter of steps starts anew with the process, so it gets further now.
    assert command(*record, 60, "--resume", "--json").document["steps"] == 60
    other = counting(command, agent_file, "other", "breaks=3")
    assert "the simulator broke" in command("evaluate", other, "--episodes", 2).complaint


# --- a place that cannot be written --------------------------------------------------------------


def test_study_that_is_a_file_is_refused(command, agent_file: Path, tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.touch()
    assert "cannot be a study" in command("new", place, "--agent", agent_file).complaint
    assert "cannot be a study" in command("evaluate", place).complaint
    assert "cannot be a study" in command("demo", "--out", place).err
    below = command("new", place / "below", "--agent", agent_file).complaint
    assert "cannot be a study" in below


def test_study_is_not_made_twice(command, study: Path, agent_file: Path) -> None:
    again = command("new", study, "--agent", agent_file).complaint
    assert "There is a study in" in again


@pytest.mark.parametrize("out", [".", "worlds.py/agent.safetensors"])
def test_outputs_that_cannot_be_written_are_refused(
    command, study: Path, home: Path, out: str
) -> None:
    assert "Cannot write" in command("export", study, LAYER, "--out", out).complaint
    complaint = command("zoo", "train", "cartpole", "--out", out).complaint
    assert "Cannot write" in complaint or ".safetensors" in complaint


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Path]:
    """A file system of a megabyte."""
    place = tmp_path / "small"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)]
    if os.geteuid() != 0 or subprocess.run(words, capture_output=True).returncode != 0:
        pytest.skip("mounting needs more rights")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(place: Path) -> None:
    """Takes what room is left."""
    with (place / "filling").open("wb", buffering=0) as file:
        for size in (4096, 1):
            try:
                while file.write(b"0" * size):
                    pass
            except OSError:
                continue


def test_full_disk_keeps_what_was_there(command, made_study: Path, mount: Path) -> None:
    study = mount / "study"
    shutil.copytree(made_study, study)
    room = shutil.disk_usage(mount).free
    # The disk is checked before the first step, and again at every shard.
    words = ("--site", "fc2:in", "--name", "more")
    assert "GB left" in command("record", study, *words, "--steps", 100_000).complaint
    complaint = command("record", study, *words, "--episodes", room // 2_000).complaint
    assert "No room for" in complaint
    assert "Make room and resume" in complaint
    assert command("report", study).code == 0
    before = (study / "reports/report.html").read_bytes()
    fill(mount)
    for verb in (
        ("fit", study, *SITES, *QUICK, *RELU),
        ("features", study, LAYER),
        ("evaluate", study, "--episodes", 2),
        ("report", study),
    ):
        assert "No room" in command(*verb).complaint
    untouched(study)
    assert (study / "reports/report.html").read_bytes() == before
    (mount / "filling").unlink()
    assert command("features", study, LAYER).code == 0


def test_read_only_study_is_readable_and_refuses_work_at_once(
    command, made_study: Path, mount: Path
) -> None:
    study = mount / "study"
    shutil.copytree(made_study, study)
    subprocess.run(["mount", "-o", "remount,ro", str(mount)], check=True)
    untouched(study)
    for words in (
        ("evaluate", study, "--episodes", 10**7),
        ("sweep", study, LAYER, "--episodes", 10**7),
        ("fit", study, *SITES, *RELU, "--epochs", 10**7),
        ("record", study, "--site", "fc2:in", "--name", "n", "--steps", 50),
    ):
        assert "Read-only file system" in command(*words).complaint
    assert "Read-only file system" in command("report", study).complaint
    out = mount.parent / "page.html"
    assert command("report", study, "--out", out).code == 0


# --- two at once ---------------------------------------------------------------------------------


def test_second_writer_is_turned_away(command, study: Path) -> None:
    from policyscope.studies.study import Study

    mine = Study.open(study)
    with mine.writing("dictionary", [LAYER]):
        complaint = command("fit", study, *SITES, *QUICK, "--name", LAYER, *RELU).complaint
        assert f"is being written by process {os.getpid()}" in complaint
        # Another name is another dictionary.
        assert command("fit", study, *SITES, *QUICK, "--name", "other", *RELU).code == 0
    with mine.keeping("experiments", "evaluate.json"):
        assert "is being written" in command("evaluate", study, "--episodes", 10**7).complaint
    assert command("evaluate", study, "--episodes", 2).code == 0


def test_foreign_agent_file_is_refused(command, tmp_path: Path) -> None:
    path = tmp_path / "odd.safetensors"
    arguments = {"sizes": [4, 2], "activation": "relu"}
    save_agent(path, MLP([4, 8, 2]), architecture="mlp", arguments=arguments)
    complaint = command("inspect", path, "--env", "CartPole-v1").complaint
    assert "odd.safetensors" in complaint
