"""The tree of errors: what each descends from, and what it says."""

import inspect
import pickle
import re

import pytest

from policyscope import errors
from policyscope.errors import EnvironmentFailed, MissingExtra, PolicyscopeError, UnknownName

KINDS = [kind for kind in vars(errors).values() if inspect.isclass(kind)]
KINDS = [
    kind for kind in KINDS if kind.__module__ == errors.__name__ and kind is not PolicyscopeError
]


@pytest.mark.parametrize("kind", KINDS)
def test_each_descends_from_ours_and_from_the_built_in_of_the_tree(kind):
    drawn = re.search(rf"─ {kind.__name__} +(\w+) ", errors.__doc__)
    assert drawn is not None, f"{kind.__name__} is missing from the tree"
    builtin = getattr(__import__("builtins"), drawn[1])
    assert issubclass(kind, PolicyscopeError)
    assert issubclass(kind, builtin)


@pytest.mark.parametrize("kind", KINDS)
def test_each_prints_its_message_and_crosses_processes(kind):
    error = pickle.loads(pickle.dumps(kind("what happened")))
    assert type(error) is kind
    assert str(error) == "what happened"


@pytest.mark.parametrize(
    ("given", "known", "message"),
    [
        ("fc9", ["fc1", "fc2"], "No site called 'fc9'. Did you mean 'fc2'? Known: fc1, fc2."),
        ("zzz", ["fc1"], "No site called 'zzz'. Known: fc1."),
        ("fc1", [], "No site called 'fc1'. There is no site here yet."),
    ],
)
def test_an_unknown_name_says_what_is_known(given, known, message):
    assert str(UnknownName.among("site", given, iter(known))) == message


def test_a_long_list_of_names_is_cut():
    message = str(UnknownName.among("site", "x", [f"layer{i}" for i in range(20)]))
    assert message.endswith("layer11 … and 8 more.")


def test_a_missing_extra_says_how_to_install_it():
    assert str(MissingExtra.of("pyarrow", "parquet")) == (
        "pyarrow is not installed. Run: pip install 'policyscope[parquet]'"
    )


def test_the_failing_row_survives_a_process_boundary():
    error = pickle.loads(pickle.dumps(EnvironmentFailed("row 3: step raised", 3)))
    assert (str(error), error.row) == ("row 3: step raised", 3)
    raised_again = EnvironmentFailed(error)
    assert (str(raised_again), raised_again.row) == ("row 3: step raised", 3)
