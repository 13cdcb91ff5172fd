"""The captures that a boot left behind, and their sidecars (docs/sidecar.md).

A job writes NAME.EXTENSION (or a folder NAME), NAME.setup with what the capture cannot say, and
guest.setup and dmesg.txt about the machine. Of these the host makes NAME.EXTENSION.host.json, whose
origin is always `emulated`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sample_traces.lab.errors import LabError
from traceview.record import boot_log

if TYPE_CHECKING:
    from pathlib import Path

SIDECAR: Final = ".host.json"
# What a job writes beside a capture
BESIDE: Final = (".setup", ".truth.jsonl", SIDECAR, ".log", ".cfg")
LISTS: Final = ("traced", "kprobe_events")
NUMBERS: Final = ("cpus", "page_size_bytes", "buffer_size_kb")


@dataclass(frozen=True, slots=True)
class Capture:
    """One capture of a boot. *truth* is None where nothing of it was said."""

    name: str
    path: Path
    truth: Path | None


def captures(out: Path) -> list[Capture]:
    """What has a setup or a sidecar in a boot's folder."""
    names = {path.name.removesuffix(".setup") for path in out.glob("*.setup")} - {"guest"}
    found = []
    for name in sorted(names):
        paths = [
            path
            for path in out.iterdir()
            if path.name == name or (path.name.startswith(f"{name}.") and not _beside(path.name))
        ]
        if len(paths) != 1:
            raise LabError(f"of a capture {name} there are {len(paths)} files\nin: {out}")
        truth = out / f"{name}.truth.jsonl"
        found.append(Capture(name, paths[0], truth if truth.exists() else None))
    return found


def _beside(name: str) -> bool:
    return name.endswith(BESIDE)


def read_setup(text: str) -> dict[str, Any]:
    """Lines of "key value"; keys that are lists may come again."""
    found: dict[str, Any] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key in LISTS:
            found.setdefault(key, []).append(value)
        elif key:
            found[key] = int(value) if key in NUMBERS else value
    return found


def host_facts(out: Path) -> dict[str, Any]:
    """What holds for every capture of a boot: the kernel's own words."""
    facts = read_setup((out / "guest.setup").read_text(encoding="utf-8"))
    log = (out / "dmesg.txt").read_text(encoding="utf-8", errors="replace")
    return {**facts, **boot_log.features(log)}


def write_sidecars(out: Path) -> list[Capture]:
    """Write a sidecar for every capture of a boot."""
    booted = json.loads((out / "boot.json").read_text(encoding="utf-8"))
    label = f"{booted['kernel']['name']} {booted['machine']['cpu']}"
    found = captures(out)
    facts = host_facts(out) if found else {}
    for one in found:
        setup = read_setup((out / f"{one.name}.setup").read_text(encoding="utf-8"))
        row: dict[str, Any] = {"origin": "emulated", "label": label}
        clock = setup.pop("clock")
        # The other recorders have clocks of their own, and say in the file which.
        if setup.pop("recorder") == "tracefs":
            row["clock"] = clock
        row["host"] = {**facts, "buffer_size_kb": setup.pop("buffer_size_kb")}
        _write(one.path, {**row, **setup})
    return found


def recordings(out: Path) -> list[Capture]:
    """Run folders of `traceview record` and archives of its script, which bring their sidecars."""
    found = []
    for result in sorted(out.glob("*/result.json")):
        sidecars = [*result.parent.glob(f"*{SIDECAR}")]
        if len(sidecars) != 1:
            raise LabError(f"a run folder with {len(sidecars)} sidecars: {result.parent}")
        trace = sidecars[0].with_name(sidecars[0].name.removesuffix(SIDECAR))
        found.append((result.parent.name, trace))
    found += [(path.stem, path) for path in sorted(out.glob("*.tar"))]
    truths = [(name, trace, out / f"{name}.truth.jsonl") for name, trace in found]
    return [Capture(name, path, truth if truth.exists() else None) for name, path, truth in truths]


def _write(trace: Path, row: dict[str, Any]) -> None:
    path = trace.with_name(trace.name + SIDECAR)
    path.write_text(json.dumps(row, indent=2) + "\n", encoding="utf-8")
