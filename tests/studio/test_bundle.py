"""The committed bundle of the studio: built from the sources as they are, small, and of no host."""

import gzip
import hashlib
import re
from pathlib import Path

import pytest

from policyscope.studio.app import STATIC

WEB = Path(__file__).parents[2] / "web"
SOURCES = ("index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts")
MOST_BYTES = 150_000
FILES = ("index.html", "app.js", "app.css")
NAMESPACES = {"www.w3.org"}
"""Hosts that are names of vocabularies; nothing is ever fetched from them."""


def hash_of_sources() -> str:
    """As `web/vite.config.ts` writes it down at every build."""
    inside = [path for path in (WEB / "src").rglob("*") if path.is_file()]
    paths = [*(WEB / name for name in SOURCES), *inside]
    found = hashlib.sha256()
    for path in sorted(paths, key=lambda one: one.relative_to(WEB).as_posix()):
        found.update(path.relative_to(WEB).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()


@pytest.mark.skipif(not WEB.exists(), reason="an installed package has no sources of the bundle")
def test_the_bundle_is_built_from_the_sources() -> None:
    built = (STATIC / "sources.sha256").read_text().strip()
    assert built == hash_of_sources(), "The bundle is stale: run npm run build in web/"


def test_the_bundle_is_small() -> None:
    sizes = {name: len(gzip.compress((STATIC / name).read_bytes())) for name in FILES}
    assert sum(sizes.values()) <= MOST_BYTES, sizes


@pytest.mark.parametrize("name", FILES)
def test_the_bundle_names_no_host(name: str) -> None:
    text = (STATIC / name).read_text("utf-8")
    found = set(re.findall(r"(?:https?|wss?)://([A-Za-z0-9.-]+)", text))
    assert found <= NAMESPACES


def test_the_page_loads_nothing_but_itself() -> None:
    text = (STATIC / "index.html").read_text("utf-8")
    loaded = re.findall(r"""(?:src|href)=["']([^"']*)["']""", text)
    assert sorted(loaded) == ["./app.css", "./app.js", "data:,"]
    assert "@import" not in (STATIC / "app.css").read_text("utf-8")
