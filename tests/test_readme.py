"""README.md shows what the program really prints."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.shown import COMMANDS, README, ROOT, shown


def test_every_command_has_a_block() -> None:
    assert set(shown()) == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_output_that_is_shown_is_the_real_one(name: str) -> None:
    assert COMMANDS[name]() == shown()[name], "run `make golden` and look at the difference"


def test_the_picture_is_there_and_small() -> None:
    (name,) = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README.read_text(encoding="utf-8"))
    assert (ROOT / name).stat().st_size < 150_000


def test_nothing_is_rewritten_under_ci() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.shown"],
        cwd=ROOT, env={"CI": "1", "PATH": "/usr/bin:/bin"}, check=False, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert b"not under CI" in done.stderr
