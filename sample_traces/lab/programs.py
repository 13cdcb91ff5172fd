"""Programs of the host: finding them, running them, saying what failed."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Final

from sample_traces.lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# Where mke2fs and depmod are, which need no root.
SEARCHED: Final = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
LINES_SHOWN: Final = 15


def find(program: str) -> str | None:
    """The path of a program, or None."""
    return shutil.which(program, path=SEARCHED)


def run(
    command: Sequence[str],
    *,
    folder: Path | None = None,
    variables: Mapping[str, str] | None = None,
) -> str:
    """Run a program and return what it printed. Raises LabError with the end of what it said."""
    path = find(command[0])
    if path is None:
        raise LabError(f"there is no program {command[0]}\nrun: python3 -m sample_traces.lab setup")
    ran = subprocess.run(
        [path, *command[1:]],
        cwd=folder,
        # What is read here is read in English.
        env={**os.environ, "LC_ALL": "C", "PATH": SEARCHED, **(variables or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        encoding="utf-8",
        errors="replace",
    )
    if ran.returncode:
        said = (ran.stdout + ran.stderr).strip().splitlines()[-LINES_SHOWN:]
        lines = "\n".join(f"  {line}" for line in said)
        raise LabError(f"{command[0]} failed with status {ran.returncode}\n{lines}")
    return ran.stdout
