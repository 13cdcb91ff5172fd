"""README.md shows what the program really prints."""

from __future__ import annotations

import html
import re
import subprocess
import sys

import pytest

from tests.shown import COMMANDS, PICTURE, README, ROOT, picture, shown


def test_every_command_has_a_block() -> None:
    assert set(shown()) == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_output_that_is_shown_is_the_real_one(name: str) -> None:
    assert COMMANDS[name]() == shown()[name], "run `make golden` and look at the difference"


def words(svg: str) -> str:
    return html.unescape("\n".join(re.findall(r"<text [^>]*>([^<]*)</text>", svg)))


def test_the_picture_shows_the_real_summary() -> None:
    # The words only: how rich lays out an SVG is its own business.
    assert words(PICTURE.read_text(encoding="utf-8")) == words(picture())


def test_the_picture_loads_nothing_from_the_network() -> None:
    svg = PICTURE.read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[^\s\"')]+", svg)) <= {
        "http://www.w3.org/2000/svg",
        "https://www.textualize.io",  # a comment of rich's
    }
    assert "@font-face" not in svg
    assert f"]({PICTURE.relative_to(ROOT)})" in README.read_text(encoding="utf-8")


def test_nothing_is_rewritten_under_ci() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.shown"],
        cwd=ROOT, env={"CI": "1", "PATH": "/usr/bin:/bin"}, check=False, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert b"not under CI" in done.stderr
