"""The public names are pinned, and each is imported only when it is used."""

import importlib
import subprocess
import sys

import pytest

import policyscope

NAMES = [
    "Agent",
    "Dictionary",
    "Episode",
    "Feature",
    "FeatureAddress",
    "Frames",
    "Hooks",
    "Intervention",
    "LanguageModel",
    "Metric",
    "Moment",
    "PolicyscopeError",
    "ReLU",
    "Recording",
    "Site",
    "Step",
    "Study",
    "TorchAgent",
    "UnitAddress",
    "Words",
    "ablate",
    "clamp",
    "compare",
    "describe",
    "ending",
    "evaluate",
    "event",
    "find_nudge",
    "fit",
    "fit_family",
    "inspect",
    "label",
    "make",
    "metric",
    "open_agent",
    "patch",
    "record_frames",
    "record_rollout",
    "rollout",
    "save_agent",
    "scale",
    "score",
    "show",
    "splice",
    "steer",
    "sweep",
    "write_report",
]


def test_public_names_are_pinned() -> None:
    assert policyscope.__all__ == sorted(NAMES)
    assert set(NAMES) <= set(dir(policyscope))


@pytest.mark.parametrize("name", NAMES)
def test_public_name_is_what_its_module_defines(name: str) -> None:
    value = getattr(policyscope, name)
    assert value is getattr(importlib.import_module(policyscope.PUBLIC[name]), name)
    assert value.__doc__


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'studdy'"):
        policyscope.studdy  # noqa: B018


def test_neither_import_nor_help_loads_torch() -> None:
    program = (
        "import sys, policyscope, policyscope.cli as cli\n"
        "for name in cli.COMMANDS:\n"
        "    try: cli.main([name, '--help'])\n"
        "    except SystemExit as left: assert left.code == 0\n"
        "heavy = {'torch', 'numpy', 'scipy', 'gymnasium', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
