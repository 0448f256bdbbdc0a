"""A study remembers its agent, its recordings, its dictionaries and every result."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from policyscope.address import Site
from policyscope.agents.adapters.torch import TorchAgent
from policyscope.agents.architectures import MLP
from policyscope.dictionaries.dictionary import Dictionary
from policyscope.dictionaries.raw import Raw
from policyscope.dictionaries.relu import ReLU
from policyscope.dictionaries.topk import TopK
from policyscope.errors import InUse, InvalidInput, PolicyscopeError, UnknownName
from policyscope.interventions.ablate import ablate
from policyscope.studies.study import Study, default_name

LAYER = "layer2/k4"


@pytest.fixture
def opened(study: Path) -> Study:
    return Study.open(study)


def test_study_opens_as_it_was_made(agent_file: Path, tmp_path: Path) -> None:
    made = Study.create(tmp_path / "s", agent=str(agent_file), seed=5)
    found = Study.open(tmp_path / "s")
    assert found.manifest == made.manifest
    assert found.agent.fingerprint() == made.agent.fingerprint()
    assert repr(found).endswith("tiny in CartPole-v1, 0 recordings, 0 dictionaries)")


def test_an_opened_study_tells_its_agent_the_spaces(study: Path, monkeypatch) -> None:
    """Effects of features need no acting, and yet the agent that a rollout would have."""
    told: list[str] = []
    monkeypatch.setattr(TorchAgent, "bind", lambda agent, *spaces: told.append(str(spaces[1])))
    Study.open(study)
    assert told == ["Discrete(2)"]


def test_a_study_opens_where_its_environment_cannot_be_made(study: Path) -> None:
    path = study / "study.json"
    path.write_text(path.read_text("utf-8").replace("CartPole-v1", "Nowhere-v1"), "utf-8")
    assert Study.open(study).recordings() == ["main"]


def test_study_outlives_the_file_its_agent_came_from(agent_file: Path, tmp_path: Path) -> None:
    source = tmp_path / "mine.safetensors"
    shutil.copyfile(agent_file, source)
    Study.create(tmp_path / "s", agent=str(source))
    source.unlink()
    assert Study.open(tmp_path / "s").evaluate(episodes=2).episodes == 2


def test_study_can_be_made_again_of_its_own_copy_of_the_agent(study: Path) -> None:
    copy = Study.open(study).manifest.agent["file"]
    (study / "study.json").unlink()
    made = Study.create(study, agent=str(study / copy))
    assert made.recordings() == ["main"]


def test_agent_from_python_must_be_given_again(tmp_path: Path) -> None:
    agent = TorchAgent(MLP([4, 8, 2]), environment="CartPole-v1")
    Study.create(tmp_path / "s", agent=agent)
    with pytest.raises(InvalidInput, match="Give it again"):
        Study.open(tmp_path / "s")
    assert Study.open(tmp_path / "s", agent=agent).agent is agent
    agent.module.get_parameter("fc1.bias").data += 1
    with pytest.raises(InvalidInput, match="has changed"):
        Study.open(tmp_path / "s", agent=agent)


def test_agent_without_an_environment_needs_one(tmp_path: Path) -> None:
    agent = TorchAgent(MLP([4, 2]))
    with pytest.raises(InvalidInput, match="does not say where it acts"):
        Study.create(tmp_path / "s", agent=agent)


def test_every_result_is_kept(opened: Study) -> None:
    table = opened.features(LAYER)
    found = opened.result("features", LAYER, "features.json")
    assert found is not None
    assert len(found["features"]) == len(table) == 4
    opened.sweep(LAYER, features=[1], alphas=[1.0], episodes=2, random_directions=2)
    swept = opened.result("experiments", LAYER, "sweep.json")
    assert swept is not None
    assert [c["feature"] for c in swept["conditions"]] == [1]
    opened.nudge(LAYER, episodes=2, confirm=2, alphas=[1.0], random_directions=2)
    assert opened.result("experiments", LAYER, "nudge.json")
    assert opened.result("experiments", "none.json") is None


def test_sizes_are_compared_where_there_are_several(opened: Study) -> None:
    wanted = [ReLU(width=2), ReLU(width=3)]
    how = {"reads": "fc2:in", "writes": "fc3:in", "seeds": 2, "epochs": 2}
    fits = opened.fit_sizes(wanted, penalties=[1e-3], **how)
    assert [one.name for one in fits.dictionaries] == ["fc3.in/relu2", "fc3.in/relu3"]
    assert fits.sizes is not None
    kept = opened.result("features", "sizes-fc2.in-fc3.in.json")
    assert kept is not None
    assert kept["dictionaries"] == ["fc3.in/relu2", "fc3.in/relu3"]
    assert [row["width"] for row in kept["rows"]] == [2, 3]
    assert [row["penalty"] for row in opened.notes("fc3.in/relu2")["penalties"]] == [1e-3]


@pytest.mark.parametrize(
    ("dictionary", "name"),
    [
        (ReLU(2), "fc2.in/relu2"),
        (TopK(width=16), "fc2.in/topk16"),
        (TopK(width=16, k=3), "fc2.in/topk16-k3"),
        (Raw(), "fc2.in/raw"),
        (Raw(k=5), "fc2.in/raw-k5"),
    ],
)
def test_a_name_tells_dictionaries_apart(dictionary: Dictionary, name: str) -> None:
    assert default_name(Site.parse("fc2:in"), dictionary) == name


def test_fit_keeps_its_name_and_is_found_by_it(opened: Study) -> None:
    fitted = opened.fit(ReLU(2), reads="fc2:in", writes="fc2:in", name="mine", seeds=1, epochs=1)
    assert fitted.name == "mine"
    assert opened.dictionaries() == [LAYER, "mine"]
    assert opened.dictionary("mine").choices() == fitted.choices()
    assert opened.dictionary(fitted) is fitted
    assert opened.notes("mine")["recording"] == "main"


def test_only_recording_needs_no_name_and_main_is_the_default(opened: Study) -> None:
    assert opened.recording().name == "main"
    opened.record(sites=["fc2:in"], metrics=[], steps=20, name="other")
    assert opened.recording().name == "main"
    assert opened.recordings() == ["main", "other"]
    with pytest.raises(UnknownName, match="Known: main, other"):
        opened.recording("third")


def test_moment_is_found_by_its_address(opened: Study) -> None:
    row = opened.moment("main/ep0@3")
    whole = opened.recording().episode(0)
    assert np.array_equal(row["fc2:in"].numpy(), whole["fc2:in"][3])
    with pytest.raises(UnknownName, match="No step 100000"):
        opened.moment("main/ep0@100000")


def test_moment_in_a_recording_below_a_folder_is_found(opened: Study) -> None:
    made = opened.record(sites=["fc2:in"], metrics=[], episodes=1, name="first/half")
    assert made.name == "first/half"
    assert opened.moment("first/half/ep0@0")["fc2:in"].shape == (16,)


def test_an_intervention_is_compared_on_shared_seeds(opened: Study) -> None:
    dictionary = opened.dictionary(LAYER)
    found = opened.compare(ablate(dictionary[0]), episodes=4)
    assert found.effect.episodes == 4
    with pytest.raises(InvalidInput, match="episodes is 0"):
        opened.compare(ablate(dictionary[0]), episodes=0)


def test_dead_features_are_left_out_of_a_sweep_by_default(opened: Study) -> None:
    dictionary = opened.dictionary(LAYER)
    assert len(opened.chosen(dictionary, None)) == 4
    cards = [{"index": i, "dead": i != 2} for i in range(4)]
    opened.keep({"features": cards}, "features", LAYER, "features.json")
    assert [feature.index for feature in opened.chosen(dictionary, None)] == [2]
    assert [feature.index for feature in opened.chosen(dictionary, [3, 0])] == [3, 0]


def test_one_name_is_written_by_one_at_a_time(opened: Study) -> None:
    with opened.writing("dictionary", ["a/b", "a+b"]):
        with (
            pytest.raises(InUse, match="dictionary 'a/b' of study"),
            opened.writing("dictionary", ["a", "a/b"]),
        ):
            pass
        # What was taken before the refusal is given back.
        with opened.writing("dictionary", ["a"]):
            pass
    with opened.writing("dictionary", ["a/b"]):
        pass


def test_report_is_a_verb_of_the_study(opened: Study, tmp_path: Path) -> None:
    assert opened.report().path == opened.directory / "reports" / "report.html"
    assert opened.report(tmp_path / "r.html").path.exists()


PLANTED = "import pathlib\npathlib.Path({ran!r}).touch()\ndef make():\n    raise SystemExit\n"


@pytest.mark.parametrize(
    "planted",
    [
        {"agent": {"spec": "planted:make", "file": None}},
        {"agent": {"spec": "platform:platform", "file": None}},
        {"agent": {"file": "agent/x", "reopen": "planted:{}"}},
        {"environment": {"id": "planted:CartPole-v1", "arguments": {}}},
    ],
    ids=["function", "library", "reopen", "environment"],
)
def test_a_study_from_elsewhere_runs_no_code_of_its_own(tmp_path, monkeypatch, agent_file, planted):
    """What a manifest names is not believed, not even from inside the study's own folder."""
    study = Study.create(tmp_path / "study", agent=str(agent_file))
    ran = tmp_path / "ran"
    (study.directory / "planted.py").write_text(PLANTED.format(ran=str(ran)))
    path = study.directory / "study.json"
    facts = json.loads(path.read_text())
    for part, changes in planted.items():
        facts[part] |= {**changes, **({"folder": str(study.directory)} if part == "agent" else {})}
    path.write_text(json.dumps(facts))
    monkeypatch.chdir(study.directory)
    with pytest.raises(PolicyscopeError, match=r"was not made here|is not how a copy"):
        Study.open(study.directory)
    assert not ran.exists()


def test_a_study_made_here_opens_from_any_folder(tmp_path, monkeypatch):
    home, away = tmp_path / "home", tmp_path / "away"
    home.mkdir()
    away.mkdir()
    (home / "maker_of_mine.py").write_text(
        "from policyscope.agents.architectures import MLP\n"
        "import torch\n"
        "def make():\n    torch.manual_seed(0)\n    return MLP([4, 8, 2])\n"
    )
    monkeypatch.chdir(home)
    study = Study.create(tmp_path / "study", agent="maker_of_mine:make", env="CartPole-v1")
    monkeypatch.chdir(away)
    assert Study.open(study.directory).agent.fingerprint() == study.agent.fingerprint()


def test_a_dictionary_is_called_what_its_folder_is_called(opened: Study, tmp_path: Path) -> None:
    header = opened.directory / "dictionaries" / LAYER / "dictionary.json"
    facts = json.loads(header.read_text())
    facts["facts"]["name"] = "../../../outside"
    header.write_text(json.dumps(facts))
    assert opened.dictionary(LAYER).name == LAYER


def test_what_was_known_of_a_dictionary_goes_with_it(opened: Study) -> None:
    opened.features(LAYER)
    kept = opened.directory / "features" / LAYER / "features.json"
    assert kept.exists()
    opened.fit(ReLU(width=3), reads="fc2:in", writes="fc3:in", name=LAYER, seeds=1, epochs=1)
    assert not kept.exists()


def test_a_dictionary_goes_to_saelens_and_comes_back(opened: Study, tmp_path: Path) -> None:
    opened.export(LAYER, tmp_path / "out", format="saelens")
    taken = opened.import_dictionary(tmp_path / "out", reads="fc2:in", writes="fc3:in", name="back")
    x = torch.rand(9, taken.d_in)
    torch.testing.assert_close(taken(x), opened.dictionary(LAYER)(x))
    assert opened.dictionaries()[0] == "back"
    score = opened.score("back", episodes=0)
    assert not score.is_held_out
    assert "not known" in score.basis
    with pytest.raises(InvalidInput, match="has shape"):
        opened.import_dictionary(tmp_path / "out", reads="fc1:in", writes="fc3:in", name="no")
    opened.fit(TopK(3, k=1), reads="fc2:in", writes="fc2:in", name="t", seeds=1, epochs=1)
    with pytest.raises(InvalidInput, match="--format saelens"):
        opened.export("t", tmp_path / "t.pth")
