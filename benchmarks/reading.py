"""How fast traces of any format are read, beside the tools of that format.

    python benchmarks/reading.py TRACE...                         each trace as it is
    python benchmarks/reading.py --grow 1000 TRACE               repeated to so many MB (growing.py)
    python benchmarks/reading.py --peer 'trace-cmd report {}' TRACE

Every run is a fresh process that reads the trace from start to end into batches (events, args,
losses, samples), every event and argument decoded, and drops them; its imports are not counted. A
peer is a command whose output is thrown away; the runs of both alternate, and all of the peer's
process counts. Reported are medians of CPU time (user and system), and peer : traceview as a ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

# A neighbour of this file must not be taken for a package of the same name.
sys.path[:] = [folder for folder in sys.path if Path(folder) != Path(__file__).resolve().parent]

MB = 1_000_000


def measure(path: str, *, asked_only: bool) -> None:
    """Read *path* once, in this process, and print what it took as JSON."""
    from traceview.parsers import open_trace  # noqa: PLC0415
    from traceview.parsers.formats import FORMATS  # noqa: PLC0415

    trace = open_trace(path)
    # What the first batch would import is imported before the clock starts.
    module = next(one.module for one in FORMATS if one.name == trace.format)
    import_module(f"{module}_reader" if module.endswith("perfetto") else module)
    import_module("numpy.ma")  # numpy.unique imports it when it is first called
    cpu, wall = time.process_time(), time.perf_counter()
    events = args = batches = 0
    for batch in trace.batches(all_events=not asked_only):
        events += len(batch.events) + sum(batch.skipped.values())
        args += len(batch.args)
        batches += 1
    found = {
        "cpu_s": time.process_time() - cpu,
        "wall_s": time.perf_counter() - wall,
        "peak_mb": peak_mb(),
        "events": events,
        "args": args,
        "batches": batches,
    }
    print(json.dumps(found))


def peak_mb() -> float:
    """The most memory this process held (ru_maxrss would count its parent's, before exec)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    match = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(match[1]) * 1024 / MB if match else float("nan")


def ours(path: Path, *, asked_only: bool) -> dict[str, float]:
    """One run of traceview in a process of its own."""
    command = [sys.executable, __file__, "--measure", str(path)]
    command += ["--asked-only"] if asked_only else []
    found: dict[str, float] = json.loads(
        subprocess.run(command, check=True, capture_output=True).stdout
    )
    return found


def peers(command: str, path: Path) -> float:
    """CPU seconds of one run of a peer."""
    words = shlex.split(command.replace("{}", shlex.quote(str(path))))
    null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2)]
    pid = os.posix_spawnp(words[0], words, os.environ, file_actions=null)
    _, status, usage = os.wait4(pid, 0)
    if status != 0:
        sys.exit(f"failed: {command}")
    return usage.ru_utime + usage.ru_stime


def report(path: Path, given: argparse.Namespace) -> None:
    """Measure *path* so many times and print the medians."""
    runs, theirs = [], []
    for _ in range(given.runs):
        runs.append(ours(path, asked_only=given.asked_only))
        if given.peer:
            theirs.append(peers(given.peer, path))
    middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    size = path.stat().st_size / MB
    print(
        f"{path.name}: {size:.1f} MB, {middle['events']:.0f} events, {middle['args']:.0f} args:"
        f" {middle['cpu_s']:.3f} s CPU, {middle['wall_s']:.3f} s,"
        f" {middle['events'] / middle['cpu_s'] / 1e6:.2f} M events/s CPU,"
        f" {size / middle['cpu_s']:.0f} MB/s, peak {middle['peak_mb']:.0f} MB"
    )
    if theirs:
        peer = statistics.median(theirs)
        print(f"  {given.peer}: {peer:.3f} s CPU, ratio {peer / middle['cpu_s']:.2f}")


def main() -> None:
    """Read the command line and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("traces", nargs="*", type=Path)
    parser.add_argument("--grow", type=float, metavar="MB", help="repeat each trace to this size")
    parser.add_argument("--peer", metavar="COMMAND", help="run beside; {} is the trace")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--asked-only", action="store_true", help="decode what `analyze` asks for, no more"
    )
    parser.add_argument("--measure", metavar="TRACE", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure(given.measure, asked_only=given.asked_only)
    for trace in given.traces:
        if given.grow is None:
            report(trace, given)
            continue
        with tempfile.TemporaryDirectory(prefix="traceview-") as folder:
            name = trace.name.removesuffix(".zst")
            grown = Path(folder) / f"{given.grow:.0f}MB-{name}"
            program = Path(__file__).with_name("growing.py")
            command = [sys.executable, str(program), str(trace), str(grown), str(given.grow)]
            subprocess.run(command, check=True)
            report(grown, given)


if __name__ == "__main__":
    main()
