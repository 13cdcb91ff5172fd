"""How fast simulated traces are made and written, beside their readers.

    python benchmarks/simulate.py                                 a 6.12 machine, preset split
    python benchmarks/simulate.py --profile n1-like --preset args --unmaps 4000 --vms 4

Every measurement is a process of its own; its imports are not counted. `model`: records are made
and dropped. `write`: records that are in memory already are written into a file. `both`: they are
made and written, batch by batch, as `traceview simulate` does but for the truth and the sidecar.
`read`: traceview reads that file with every event and argument. Reported are medians of CPU time
(user and system, all threads) and records per second of it; for trace.dat also that of
`trace-cmd report` of the same file, and its ratio to `read`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

# A neighbour of this file must not be taken for a package of the same name.
sys.path[:] = [folder for folder in sys.path if Path(folder) != Path(__file__).resolve().parent]

if TYPE_CHECKING:
    from traceview.simulate.recording import Recorded

FORMATS = {
    "ftrace_text": ("write_ftrace_text", "t.txt", {}),
    "trace_dat": ("write_trace_dat", "t.dat", {}),
    "trace_dat, version 6": ("write_trace_dat", "t6.dat", {"version": 6}),
    "perfetto": ("write_perfetto", "t.perfetto", {}),
}
READERS = {".txt": "ftrace_text", ".dat": "trace_dat", ".perfetto": "perfetto_reader"}


def recorded(given: argparse.Namespace) -> Recorded:
    """What is simulated."""
    from traceview.simulate.page_table import Granule  # noqa: PLC0415
    from traceview.simulate.presets import tracer_of  # noqa: PLC0415
    from traceview.simulate.profile import read_profile  # noqa: PLC0415
    from traceview.simulate.simulator import Options, machine_of, simulate  # noqa: PLC0415
    from traceview.simulate.steps import make_step  # noqa: PLC0415
    from traceview.simulate.workload import repeated  # noqa: PLC0415

    profile = read_profile(given.profile)
    page = profile.whole("machine.page_size_bytes")
    step = make_step({"size": given.size, "backing": page}, "the benchmark")
    granule = Granule(page, profile.whole("machine.ipa_bits"))
    steps = repeated((step,), given.unmaps, granule, given.vms)
    tracer = tracer_of(given.preset, machine_of(profile, "auto"))
    return simulate(profile, Options(steps, tracer, vms=given.vms, clock="boot"))[0]


def measure(given: argparse.Namespace) -> dict[str, float]:
    """One measurement, in this process."""
    what, _, name = given.measure.partition(":")
    if what == "read":
        return _reading(given.folder / name)
    module = import_module(f"traceview.simulate.{name.partition(',')[0] or 'simulator'}")
    made = recorded(given)
    if what == "write":
        made = replace(made, batches=iter(list(made.batches)))
    cpu, records = time.process_time(), 0

    def count(so_far: int) -> None:
        nonlocal records
        records = so_far

    if what == "model":
        for batch in made.batches:
            records += batch.height
    else:
        write, file_name, options = FORMATS[name]
        with (given.folder / file_name).open("wb") as file:
            getattr(module, write)(made, file, count, **options)
    return {"cpu_s": time.process_time() - cpu, "records": records, "peak_mb": _peak_mb()}


def _reading(path: Path) -> dict[str, float]:
    from traceview.parsers import open_trace  # noqa: PLC0415

    import_module(f"traceview.parsers.{READERS[path.suffix]}")
    import_module("numpy.ma")  # numpy.unique imports it when it is first called
    cpu = time.process_time()
    events = sum(batch.events.height for batch in open_trace(path).batches(all_events=True))
    return {"cpu_s": time.process_time() - cpu, "records": events, "peak_mb": _peak_mb()}


def _peak_mb() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    match = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(match[1]) * 1024 / 1e6 if match else float("nan")


def run(what: str, folder: Path, given: argparse.Namespace) -> dict[str, float]:
    """The medians of so many processes."""
    command = [sys.executable, __file__, "--measure", what, "--folder", str(folder)]
    for option in ("profile", "preset", "size", "unmaps", "vms"):
        command += [f"--{option}", str(getattr(given, option))]
    found: list[dict[str, Any]] = []
    for _ in range(given.runs):
        done = subprocess.run(command, check=True, capture_output=True)
        found.append(json.loads(done.stdout))
    return {key: statistics.median(one[key] for one in found) for key in found[0]}


def peer(path: Path, runs: int) -> float | None:
    """CPU seconds of `trace-cmd report`; None where there is none that reads it."""
    program = shutil.which("trace-cmd")
    if program is None:
        return None
    null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2)]
    found = []
    for _ in range(runs):
        words = [program, "report", str(path)]
        pid = os.posix_spawn(program, words, os.environ, file_actions=null)
        _, status, usage = os.wait4(pid, 0)
        if status != 0:
            return None
        found.append(usage.ru_utime + usage.ru_stime)
    return statistics.median(found)


def shown(what: str, found: dict[str, float], records: float) -> str:
    """One line."""
    rate = records / found["cpu_s"] / 1e6
    cost = f"{found['cpu_s']:6.2f} s CPU  {rate:5.2f} M records/s"
    return f"  {what:8} {cost}  peak {found['peak_mb']:.0f} MB"


def main() -> None:
    """Read the command line and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="emulated-6.12-max")
    parser.add_argument("--preset", default="split", choices=("top", "split", "deep", "args"))
    parser.add_argument("--size", default="2M")
    parser.add_argument("--unmaps", type=int, default=1000)
    parser.add_argument("--vms", type=int, default=1)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given)))
        return
    with tempfile.TemporaryDirectory(prefix="traceview-") as name:
        folder = Path(name)
        model = run("model", folder, given)
        records = model["records"]
        print(f"{given.profile}, {given.preset}, {given.unmaps} unmaps of {given.size},", end=" ")
        print(f"{given.vms} VMs: {records:.0f} records")
        print(shown("model", model, records))
        for format_name, (_, file_name, _) in FORMATS.items():
            path = folder / file_name
            found = {
                what: run(f"{what}:{format_name}", folder, given) for what in ("write", "both")
            }
            print(f"{format_name}: {path.stat().st_size / 1e6:.1f} MB")
            found["read"] = run(f"read:{file_name}", folder, given)
            for what, one in found.items():
                print(shown(what, one, records))
            theirs = peer(path, given.runs) if path.suffix == ".dat" else None
            if theirs is not None:
                ratio = theirs / found["read"]["cpu_s"]
                print(
                    f"  trace-cmd report: {theirs:.2f} s CPU, ratio to read {ratio:.1f},", end=" "
                )
                print(f"to write {theirs / found['write']['cpu_s']:.1f}")
            path.unlink()


if __name__ == "__main__":
    main()
