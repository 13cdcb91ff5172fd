"""One simulated recording becomes three files: the trace, the truth, the sidecar.

All appear whole or not at all. The truth is written as the trace is: neither is held in memory.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field, replace
from typing import IO, TYPE_CHECKING, BinaryIO, Final, cast

from traceview.report.new_file import new_file, refuse_existing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import polars as pl

    from traceview.simulate.presets import Tracer
    from traceview.simulate.recording import Recorded
    from traceview.simulate.simulator import Truth

    Writer = Callable[[Recorded, BinaryIO, Callable[[int], None]], None]

# By suffix of the file that is written: the name of the format.
SUFFIXES: Final = {
    ".txt": "text", ".dat": "trace-cmd", ".perfetto": "perfetto", ".pftrace": "perfetto",
    ".perfetto-trace": "perfetto",
}  # fmt: skip
FORMATS: Final = {"text": ".txt", "trace-cmd": ".dat", "perfetto": ".perfetto"}
TRUTH_SUFFIX: Final = ".truth.jsonl"


@dataclass(frozen=True, slots=True)
class Target:
    """Where one recording goes, in which format, and what its sidecar says of the run."""

    path: Path
    format: str
    run: str
    label: str | None
    order: int | None

    @property
    def files(self) -> tuple[Path, Path, Path]:
        """The trace, the truth, the sidecar."""
        from traceview.host import sidecar_path  # noqa: PLC0415 - not needed by --help

        truth = self.path.with_name(self.path.name + TRUTH_SUFFIX)
        return self.path, truth, sidecar_path(self.path)

    def refuse_existing(self, *, force: bool) -> None:
        """Raise SettingError where one of them cannot be written."""
        for path in self.files:
            refuse_existing(path, force=force)


@dataclass(slots=True)
class Written:
    """What was written so far."""

    unmaps: int = 0
    records: int = 0
    lost: int = 0
    statuses: dict[str, int] | None = field(default_factory=dict)

    def count(self, truth: pl.DataFrame) -> None:
        """Take the truth of some unmaps."""
        self.unmaps += truth.height
        if self.statuses is None or truth.height == 0:
            return
        if truth["status"].null_count():
            self.statuses = None
            return
        for status, number in truth["status"].value_counts().rows():
            self.statuses[status] = self.statuses.get(status, 0) + number


def writer_of(name: str) -> Writer:
    """What writes a format."""
    if name == "text":
        from traceview.simulate.ftrace_text import write_ftrace_text  # noqa: PLC0415

        return write_ftrace_text
    if name == "trace-cmd":
        from traceview.simulate.trace_dat import write_trace_dat  # noqa: PLC0415

        return write_trace_dat
    from traceview.simulate.perfetto import write_perfetto  # noqa: PLC0415

    return write_perfetto


def write_simulated(
    target: Target,
    recorded: Recorded,
    truth: Truth,
    tracer: Tracer,
    *,
    force: bool,
    progress: Callable[[int], None],
) -> Written:
    """Write the three files. *progress* hears how many unmaps were written. Raises SettingError."""
    trace, beside, sidecar = target.files
    written = Written()
    with contextlib.ExitStack() as files:
        # The trace is named last: what lies beside it is there when it is.
        file = files.enter_context(new_file(trace, force=force))
        rows = files.enter_context(new_file(beside, force=force))
        facts = files.enter_context(new_file(sidecar, force=force))
        facts.write(_sidecar(target, recorded, tracer))

        def batches() -> Iterator[pl.DataFrame]:
            for batch in recorded.batches:
                written.records += batch.height
                written.lost += int(batch["lost_before"].sum())
                _add_truth(truth, rows, written)
                progress(written.unmaps)
                yield batch
            _add_truth(truth, rows, written)

        write = writer_of(target.format)
        write(replace(recorded, batches=batches()), cast("BinaryIO", file), lambda _: None)
        written.lost += sum(recorded.lost_at_end.values())
    return written


def _add_truth(truth: Truth, rows: IO[bytes], written: Written) -> None:
    known = truth.take()
    if known.height:
        written.count(known)
        known.write_ndjson(rows)


def _sidecar(target: Target, recorded: Recorded, tracer: Tracer) -> bytes:
    from traceview.simulate.probe_events import kprobe_definitions  # noqa: PLC0415

    stated: dict[str, object] = {"run": target.run}
    if target.label is not None:
        stated["label"] = target.label
    if target.order is not None:
        stated["order"] = target.order
    stated |= {
        "origin": "synthetic", "clock": recorded.clock, "host": recorded.facts,
        "traced": sorted(tracer.timed),
    }  # fmt: skip
    if recorded.probes:
        stated["kprobe_events"] = kprobe_definitions(recorded)
    return (json.dumps(stated, indent=2) + "\n").encode()
