"""Registries: what is registered, what comes from other packages, and module:name."""

import sys
from importlib.metadata import EntryPoint

import pytest

from policyscope import registry
from policyscope.errors import InvalidInput, UnknownName
from policyscope.registry import Registry, import_named


@pytest.fixture
def shapes():
    made = Registry[type]("shape", "policyscope.tests.shapes")

    @made.register("round")
    class Round:
        pass

    made.register("square")(int)
    return made


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "shapes_of_mine.py").write_text("import math\noval = 5\n_hidden = 6\n")
    (tmp_path / "broken_shapes.py").write_text("import nothing_like_this\n")
    yield tmp_path
    sys.modules.pop("shapes_of_mine", None)


def test_what_is_registered_is_found(shapes):
    assert shapes.get("square") is int
    assert shapes.get("round").__name__ == "Round"
    assert shapes.names() == ["round", "square"]


def test_an_unknown_name_comes_with_a_suggestion(shapes):
    with pytest.raises(UnknownName) as raised:
        shapes.get("sqare")
    assert str(raised.value) == (
        "No shape called 'sqare'. Did you mean 'square'? Known: round, square."
    )


def test_one_name_has_one_implementation(shapes):
    assert shapes.register("square")(int) is int
    with pytest.raises(InvalidInput, match="Two implementations want to be the shape 'square'"):
        shapes.register("square")(str)


def test_entry_points_are_listed_and_imported_only_when_asked_for(shapes, monkeypatch):
    points = [
        EntryPoint("far", "decimal:Decimal", "policyscope.tests.shapes"),
        EntryPoint("broken", "nothing_like_this:x", "policyscope.tests.shapes"),
        EntryPoint("square", "builtins:str", "policyscope.tests.shapes"),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    assert shapes.names() == ["broken", "far", "round", "square"]
    assert shapes.get("far").__name__ == "Decimal"
    assert shapes.get("square") is int, "ours was replaced by another package's"
    with pytest.raises(ModuleNotFoundError, match="nothing_like_this"):
        shapes.get("broken")


def test_module_and_name_are_found_in_the_folder(folder):
    assert import_named("shape", "shapes_of_mine:oval", folder) == 5
    assert import_named("shape", "math:pi") == pytest.approx(3.14159, abs=1e-5)


def test_module_and_name_are_found_in_the_working_directory(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert import_named("shape", "shapes_of_mine:oval") == 5


def test_what_cannot_be_found_is_told_apart(folder):
    with pytest.raises(UnknownName, match=r"No shape 'no_such:x': there is no module .* Try both"):
        import_named("shape", "no_such:x", folder, "Try both.")
    with pytest.raises(UnknownName, match="there is no module 'json.no_such'".replace(".", r"\.")):
        import_named("shape", "json.no_such:x")
    with pytest.raises(
        UnknownName, match=r"called 'ovel'\. Did you mean 'oval'\? Known: math, oval\."
    ):
        import_named("shape", "shapes_of_mine:ovel", folder)
    with pytest.raises(InvalidInput, match=r"'\./a\.py:x' names no shape\. Write module:name"):
        import_named("shape", "./a.py:x", folder)
    with pytest.raises(ModuleNotFoundError, match="nothing_like_this"):
        import_named("shape", "broken_shapes:x", folder)
