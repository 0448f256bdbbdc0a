"""Every command of the contract, as it is called, and what its JSON document holds."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from policyscope import cli
from policyscope.zoo import system

Keys = set[str]

SITE = {"address", "shape", "dtype", "role"}
FEATURE = {
    "index", "max", "mean", "std", "firing_rate", "dead", "top", "correlations", "action_effect",
    "label",
}  # fmt: skip
CONDITION = {
    "feature", "alpha", "return_mean", "low", "high", "difference", "difference_low",
    "difference_high", "p", "p_corrected", "endings",
}  # fmt: skip
TRIAL = {"feature", "alpha", "difference", "low", "high", "p_corrected", "seeds"}


def test_inspect(command, agent_file: Path) -> None:
    found = command("inspect", agent_file, "--env", "CartPole-v1", "--json").document
    assert {"algorithm", "observation_space", "action_space", "parameters"} <= found.keys()
    assert found["safe"] is True
    assert all(site.keys() >= SITE for site in found["sites"])
    addresses = {site["address"]: site for site in found["sites"]}
    assert addresses["fc2:in"]["shape"] == [16]
    assert addresses["fc1:in"]["role"] == "observation"


def test_new(command, agent_file: Path, tmp_path: Path) -> None:
    where = tmp_path / "study"
    env = ("--env", "CartPole-v1", "--env-arg", "sutton_barto_reward=true")
    done = command("new", where, "--agent", agent_file, *env, "--json")
    assert done.document["environment"]["arguments"] == {"sutton_barto_reward": True}
    assert json.loads((where / "study.json").read_text())["format"] == 1


def test_evaluate(command, study: Path) -> None:
    found = command("evaluate", study, "--episodes", 6, "--deterministic", "--json").document
    wanted = {"return_mean", "return_std", "episodes", "endings", "steps_per_second"}
    assert wanted <= found.keys()
    assert sum(found["endings"].values()) == found["episodes"] == 6


def test_record(command, study: Path) -> None:
    words = ("--site", "fc2:in", "--metric", "pole_angle", "--rows", 2, "--name", "half")
    more = ("--dtype", "float16", "--json")
    found = command("record", study, *words, "--steps", 100, *more).document
    assert (found["steps"], found["rows"]) == (100, 2)
    columns = {column["name"]: column for column in found["columns"]}
    assert columns["fc2:in"]["dtype"] == "float16"
    assert columns["pole_angle"]["unit"] == "rad"
    again = command("record", study, *words, "--steps", 150, *more, "--resume").document
    assert again["steps"] == 150
    whole = command("record", study, "--site", "fc2:in", "--episodes", 3, "--name", "w", "--json")
    assert whole.document["episodes"] == 3


def test_frames(command, study: Path) -> None:
    pytest.importorskip("PIL", reason="needs the extra [frames]")
    pytest.importorskip("pygame", reason="needs the extra [frames]")
    words = ("--recording", "main", "--episode", 0, 1, "--every", 5, "--json")
    found = command("frames", study, *words).document
    assert found.keys() == {"sheets", "frames", "bytes"}
    assert found["sheets"] == 2
    assert (
        "Run: policyscope features"
        in command("frames", study, "--dictionary", "layer2/k4").complaint
    )
    cards = command("features", study, "layer2/k4", "--json").document["features"]
    moments = {top["moment"] for card in cards for top in card["top"]}
    top = command("frames", study, "--dictionary", "layer2/k4", "--json").document
    assert found["frames"] < top["frames"] <= found["frames"] + len(moments)
    more = ("--moment", "main/ep0@1", "--json")
    assert command("frames", study, *more).document["frames"] == top["frames"] + 1
    page = Path(command("report", study, "--json").document["file"]).read_text("utf-8")
    shown = re.findall(r'<img src="data:image/webp;base64,[^"]+" alt="What (\S+) looks', page)
    assert set(shown) == moments


def test_fit(command, study: Path) -> None:
    where = ("--reads", "fc2:in", "--writes", "fc3:in", "--name", "mine", "--recording", "main")
    kind = ("relu", "--width", 4, "--penalty", "1e-4", "--epochs", 2, "--seeds", 2, "--json")
    found = command("fit", study, *where, *kind).document
    wanted = {"name", "kind", "reads", "writes", "width", "unexplained", "l0", "dead", "seeds"}
    assert wanted <= found.keys()
    assert (found["name"], found["penalty"], found["seeds"]) == ("mine", 1e-4, [0, 1])
    names = {path.name for path in (study / "dictionaries" / "mine").iterdir()}
    assert names >= {"dictionary.json", "weights.safetensors"}


def test_flags_of_a_fit_may_stand_before_or_after_its_kind(command, study: Path) -> None:
    sites = ("--reads", "fc2:in", "--writes", "fc2:in", "--seeds", 1, "--epochs", 1)
    before = command("fit", study, *sites, "--json", "--name", "b", "relu", "--width", 2)
    after = command("fit", study, "--json", *sites, "relu", "--width", 2, "--name", "b")
    assert before.document == after.document


def test_features(command, study: Path) -> None:
    found = command("features", study, "layer2/k4", "--json").document
    assert [card["index"] for card in found["features"]] == [0, 1, 2, 3]
    for card in found["features"]:
        assert card.keys() >= FEATURE
    (alive, *_) = [card for card in found["features"] if not card["dead"]]
    assert alive["top"][0].keys() >= {"moment", "activation", "metrics"}
    assert re.fullmatch(r"main/ep\d+@\d+", alive["top"][0]["moment"])
    assert alive["correlations"]["pole_angle"].keys() >= {"r", "low", "high"}
    assert alive["label"].keys() >= {"text", "precision", "recall", "auroc"}


def test_score(command, study: Path) -> None:
    found = command("score", study, "layer2/k4", "--episodes", 4, "--json").document
    assert {"unexplained", "l0", "dead", "density", "action_agreement"} <= found.keys()
    assert found["return_kept"].keys() >= {"value", "low", "high"}
    unplayed = command("score", study, "layer2/k4", "--episodes", 0, "--json").document
    assert unplayed["return_kept"] is None


def test_sweep(command, study: Path) -> None:
    words = ("--feature", 0, 2, "--alpha", -1, "0.5", "--episodes", 4, "--random-directions", 2)
    found = command("sweep", study, "layer2/k4", *words, "--json").document
    assert [(c["feature"], c["alpha"]) for c in found["conditions"]] == [
        (0, -1.0), (0, 0.5), (2, -1.0), (2, 0.5),
    ]  # fmt: skip
    for condition in found["conditions"]:
        assert condition.keys() >= CONDITION
        assert sum(condition["endings"].values()) == 4
    assert {"baseline", "random_band"} <= found.keys()


def test_nudge(command, study: Path) -> None:
    words = ("--episodes", 4, "--confirm", 6, "--alpha", -1, 1, "--random-directions", 2)
    found = command("nudge", study, "layer2/k4", *words, "--json").document
    assert found["found"] is bool(found["confirmed"])
    assert len(found["candidates"]) == 8
    assert found["trials"]
    for trial in found["trials"]:
        assert trial.keys() >= TRIAL


def test_report(command, study: Path, tmp_path: Path) -> None:
    found = command("report", study, "--json").document
    assert Path(found["file"]) == study / "reports" / "report.html"
    out = tmp_path / "elsewhere" / "page.html"
    assert command("report", study, "--out", out, "--json").document == {"file": str(out)}
    assert out.read_text("utf-8").startswith("<!doctype html>")


def test_export(command, study: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "transcoder_layer2_4dim.pth"
    found = command("export", study, "layer2/k4", "--out", out, "--json").document
    assert Path(found["file"]).stat().st_size > 0


def test_zoo(command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command("zoo", "list", "--json").document["agents"][0].keys() >= {"name", "environment"}
    asked = []

    def train(name: str, out: Path, *, seed: int, quick: bool) -> dict[str, object]:
        asked.append((name, out, seed, quick))
        return {"validation_return": 101.0, "episodes": 5, "steps": 700}

    monkeypatch.setattr(system, "train_agent", train)
    out = tmp_path / "agent.safetensors"
    done = command("zoo", "train", "cartpole", "--out", out, "--quick", "--seed", 3)
    assert done.out.startswith("cartpole: validation return 101.0")
    assert asked == [("cartpole", out, 3, True)]


def test_doctor(command) -> None:
    found = command("doctor", "--json").document
    assert {"python", "packages", "devices", "missing"} <= found.keys()
    assert found["packages"]["torch"]


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate", "--episodes", "4"),
        ("features", "layer2/k4"),
        ("score", "layer2/k4", "--episodes", "4"),
        ("sweep", "layer2/k4", "--alpha", "1", "--episodes", "4", "--random-directions", "2"),
    ],
)
def test_same_seed_gives_the_same_answer(command, study: Path, words: tuple[str, ...]) -> None:
    name, *rest = words
    first, second, other = (
        command(name, study, *rest, "--seed", seed, "--json").document for seed in (7, 7, 8)
    )
    for found in (first, second, other):
        found.pop("steps_per_second", None)
    assert first == second
    assert first != other


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_help_says_what_a_command_does(command, name: str) -> None:
    done = command(name, "--help")
    assert done.code == 0
    about = cli.COMMANDS[name].about.split()
    assert " ".join(about[:4]) in " ".join(done.out.split())
    assert {"--seed", "--json"} <= set(re.findall(r"--[a-z-]+", done.out))


def test_help_of_a_kind_lists_its_choices(command) -> None:
    done = command("fit", "any", "--reads", "a", "--writes", "b", "relu", "--help")
    assert done.code == 0
    assert "number of features" in done.out
    assert "--penalty" in done.out


def test_version(command) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", command("--version").out)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "usage: policyscope"),
        (("evalute", "s"), "Did you mean 'evaluate'?"),
        (("evaluate", "s", "--epiodes", "3"), "Did you mean --episodes?"),
        (("sweep", "s", "d", "--jsn"), "Did you mean --json?"),
        (("evaluate", "s", "--episodes", "many"), "invalid int value: 'many'"),
        (("sweep", "s", "d", "--alpha", "x"), "invalid float value: 'x'"),
        (("record", "s", "--steps", "3"), "required: --site"),
        (("record", "s", "--site", "a", "--dtype", "float64"), "Did you mean 'float16'?"),
        (("evaluate", "s", "--seed", "-1"), "'-1' is not a whole number of 0 to"),
        (("evaluate", "s", "--seed", "9" * 30), "is not a whole number of 0 to"),
        (("zoo", "train", "cartpole"), "needs NAME and --out FILE"),
        (("zoo", "lst"), "Did you mean 'list'?"),
        (("fit", "s", "--reads", "a", "--writes", "b"), "required: KIND"),
        (("fit", "s", "--reads", "a", "--writes", "b", "rulu"), "Did you mean 'relu'?"),
        (("fit", "s", "--reads", "a", "--writes", "b", "relu"), "required: --width"),
        (("fit", "s", "--reads", "a", "--writes", "b", "relu", "--width", "2.5"), "invalid int"),
        (("fit", "s", "--reads", "a", "--writes", "b", "relu", "--width", "2", "--k", "0"), "--k"),
    ],
)
def test_wrong_usage_exits_with_two(command, words: tuple[str, ...], said: str) -> None:
    done = command(*words)
    assert done.code == 2
    assert not done.out
    assert said in done.err


def test_negative_numbers_in_scientific_notation_are_values(command, study: Path) -> None:
    words = ("--alpha", "-1e-3", "-2", "-.5", "--episodes", 2, "--random-directions", 0)
    found = command("sweep", study, "layer2/k4", "--feature", 0, *words, "--json").document
    assert [c["alpha"] for c in found["conditions"]] == [-1e-3, -2.0, -0.5]


def policyscope(*words: object) -> subprocess.CompletedProcess[str]:
    """The installed command, in a process of its own."""
    entry = Path(sys.executable).with_name("policyscope")
    return subprocess.run([str(entry), *map(str, words)], capture_output=True, text=True)


def test_installed_command_answers_with_one_document(study: Path) -> None:
    done = policyscope("evaluate", study, "--episodes", 3, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["episodes"] == 3


def test_installed_command_complains_in_one_line(tmp_path: Path) -> None:
    done = policyscope("evaluate", tmp_path / "none", "--episodes", 3, "--json")
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(r"policyscope: No study called '.*none'\..*\n", done.stderr)
