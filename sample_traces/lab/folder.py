"""The lab's folder: what was fetched, built and recorded. Nothing of it lies in the checkout."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
PROJECT: Final = HERE.parent.parent
VARIABLE: Final = "TRACEVIEW_LAB"


@dataclass(frozen=True, slots=True)
class Folder:
    """Where everything is (README.md, "Layout")."""

    path: Path

    @property
    def apt(self) -> Path:
        """The private states of apt, by suite."""
        return self.path / "apt"

    @property
    def debs(self) -> Path:
        """Packages as they were fetched, by what they are for."""
        return self.path / "debs"

    @property
    def wheels(self) -> Path:
        """Python packages for the guest."""
        return self.path / "wheels"

    @property
    def kernels(self) -> Path:
        """One folder for each kernel that boots."""
        return self.path / "kernels"

    @property
    def root_image(self) -> Path:
        """The root file system of every boot."""
        return self.path / "root.img"

    @property
    def workload(self) -> Path:
        """The KVM program."""
        return self.path / "bin" / "workload"

    @property
    def busybox(self) -> Path:
        """The static busybox of the guest."""
        return self.path / "bin" / "busybox"

    @property
    def plugin(self) -> Path:
        """The built plugin."""
        return self.path / "plugin"

    @property
    def out(self) -> Path:
        """One folder for each boot."""
        return self.path / "out"


def lab_folder() -> Folder:
    """$TRACEVIEW_LAB, else traceview-lab in the user's cache."""
    stated = os.environ.get(VARIABLE)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Folder((Path(stated) if stated else cache / "traceview-lab").absolute())
