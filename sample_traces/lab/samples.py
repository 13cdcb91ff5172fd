"""The samples of sample_traces/, recorded anew and compared with the bundled ones by their counts.

Times differ, addresses differ, and Debian's kernels move on: bytes are not compared. What has to
agree, step by step, is what happened: unmaps, leaves by level, invalidations, cache maintenance,
references dropped. `insn-*` is the plugin's, `switch-6.12` that of a kernel built from source.
"""

from __future__ import annotations

import json
import lzma
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import zstandard

from sample_traces.lab.boot import Boot, boot, job_path
from sample_traces.lab.captures import SIDECAR, write_sidecars
from sample_traces.lab.check import differences, unmaps_by_step, unmaps_in_order
from sample_traces.lab.errors import LabError
from sample_traces.lab.folder import PROJECT
from sample_traces.lab.machine import Machine
from sample_traces.lab.packages import say

if TYPE_CHECKING:
    from pathlib import Path

    from sample_traces.lab.folder import Folder

BUNDLED: Final = PROJECT / "sample_traces"


@dataclass(frozen=True, slots=True)
class Sample:
    """A bundled file and the capture of jobs/samples.sh that is its like."""

    file: str
    capture: str
    kernel: str
    cpu: str
    deterministic: bool = False
    unmaps: bool = True  # it has any

    @property
    def machine(self) -> Machine:
        """Where it is recorded."""
        return Machine(
            cpu=self.cpu,
            cpus=1 if self.deterministic else 2,
            deterministic=self.deterministic,
        )

    @property
    def recorded(self) -> str:
        """The name of the capture that the job writes for it."""
        return "observer-split" if self.capture == "observer" else self.capture


SAMPLES: Final = (
    Sample("fgraph-6.12-max.txt.zst", "observer", "6.12", "max", deterministic=True),
    Sample("function-6.12-max.txt.zst", "function", "6.12", "max"),
    Sample("kprobes-6.12-max.perf.data", "kprobes-perf", "6.12", "max"),
    Sample("fgraph-6.12-neoverse-n1.perfetto", "fgraph-perfetto", "6.12", "neoverse-n1"),
    Sample("fgraph-latency-6.12-neoverse-n1.txt.zst", "fgraph-latency", "6.12", "neoverse-n1"),
    Sample("kprobes-6.12-neoverse-n1.txt.zst", "kprobes", "6.12", "neoverse-n1"),
    Sample(
        "cpuclock-6.12-neoverse-n1.script.txt.zst", "cpuclock", "6.12", "neoverse-n1", unmaps=False
    ),
    Sample("kprobes-6.1-max.perfetto.xz", "kprobes-perfetto", "6.1", "max"),
    Sample("kprobes-6.1-max.dat.xz", "kprobes-dat", "6.1", "max"),
)


def record_samples(folder: Folder, kernels: frozenset[str] | None = None) -> dict[str, list[str]]:
    """Record every sample anew into out/samples; what differs from the bundled one, by file."""
    target = folder.out / "samples"
    target.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[str]] = {}
    groups: dict[tuple[str, Machine], list[Sample]] = {}
    for one in SAMPLES:
        if kernels is None or one.kernel in kernels:
            groups.setdefault((one.kernel, one.machine), []).append(one)
    for (kernel, machine), members in groups.items():
        asked = tuple(one.capture for one in members)
        out = boot(folder, Boot(job_path("samples"), kernel, machine, asked))
        captures = {one.name: one.path for one in write_sidecars(out)}
        for one in members:
            path = captures[one.recorded]
            pack(path, target / one.file)
            shutil.copy(path.with_name(path.name + SIDECAR), target / (one.file + SIDECAR))
            found[one.file] = compare(target / one.file, one)
            say(described(target / one.file, found[one.file], one))
    return found


def described(path: Path, unlike: list[str], one: Sample) -> str:
    """One line about a sample that was recorded anew."""
    if not one.unmaps:
        return f"{one.file}: it has no unmaps to count ({path.stat().st_size} bytes)"
    releases = {release(path), release(BUNDLED / one.file)}
    kernel = f"kernel {' and '.join(sorted(releases))}"
    if unlike:
        return f"{one.file}: {len(unlike)} steps differ ({kernel})\n  " + "\n  ".join(unlike)
    return f"{one.file}: equal counts in every step ({kernel}; {path.stat().st_size} bytes)"


def release(trace: Path) -> str:
    """The kernel that a sample's sidecar states."""
    row = json.loads(trace.with_name(trace.name + SIDECAR).read_text(encoding="utf-8"))
    return str(row["host"]["kernel"])


def compare(fresh: Path, one: Sample) -> list[str]:
    """The steps in which a sample and its new like differ."""
    if not one.unmaps:
        unmaps_by_step(fresh)  # it can be read
        return []
    bundled = BUNDLED / one.file
    old, new = unmaps_by_step(bundled), unmaps_by_step(fresh)
    if not old and not new:  # perf has no markers
        old, new = unmaps_in_order(bundled), unmaps_in_order(fresh)
    if not old:
        raise LabError(f"it has no unmap: {bundled}")
    return differences(old, new)


def pack(source: Path, target: Path) -> None:
    """As the sample is packed: by its suffix."""
    content = source.read_bytes()
    if target.suffix == ".zst":
        content = zstandard.ZstdCompressor(level=19).compress(content)
    elif target.suffix == ".xz":
        content = lzma.compress(content, preset=9)
    target.write_bytes(content)
