"""Every public method says what it returns or does, itself or through what it overrides."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import pytest

import policyscope


def modules() -> Iterator[str]:
    for module in pkgutil.walk_packages(policyscope.__path__, "policyscope."):
        if not module.name.endswith("__main__"):
            yield module.name


def undocumented_methods(name: str) -> Iterator[str]:
    for class_name, kind in vars(importlib.import_module(name)).items():
        if not inspect.isclass(kind) or kind.__module__ != name or class_name.startswith("_"):
            continue
        for method_name, method in vars(kind).items():
            if method_name.startswith("_") or not inspect.isroutine(method):
                continue
            if not inspect.getdoc(getattr(kind, method_name)):
                yield f"{class_name}.{method_name}"


@pytest.mark.parametrize("name", list(modules()))
def test_public_methods_are_documented(name: str) -> None:
    assert list(undocumented_methods(name)) == []
