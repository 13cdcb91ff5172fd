"""What is installed is what is in the tree."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MOVED = ("parsers", "queries")


def packages_in_tree() -> set[str]:
    """Every package in the checkout, by the name that it is installed under."""
    found = {"traceview"}
    for folder in MOVED:
        for init in (ROOT / folder).rglob("__init__.py"):
            found.add(".".join(("traceview", *init.parent.relative_to(ROOT).parts)))
    for folder in ("*", "report/*"):  # not through the links
        for init in (ROOT / "traceview").glob(f"{folder}/__init__.py"):
            found.add(".".join(init.parent.relative_to(ROOT).parts))
    return found


def test_every_package_is_listed() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert set(config["tool"]["setuptools"]["packages"]) == packages_in_tree()


@pytest.mark.parametrize("name", MOVED)
def test_link_points_at_the_folder(name: str) -> None:
    link = ROOT / "traceview" / name
    if not link.is_symlink():
        pytest.skip("no links in an sdist or in a checkout without link support")
    assert link.readlink() == Path("..", name)


@pytest.mark.parametrize("name", MOVED)
def test_no_generic_name_is_installed(name: str) -> None:
    code = f"import importlib.util as u, sys; sys.exit(u.find_spec({name!r}) is not None)"
    assert subprocess.run([sys.executable, "-I", "-c", code], check=False).returncode == 0
