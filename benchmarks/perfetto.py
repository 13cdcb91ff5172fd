"""How fast Perfetto traces are read: CPU time, events per second, peak memory.

    python benchmarks/perfetto.py TRACE...              each trace as it is
    python benchmarks/perfetto.py --grow 1000 TRACE     the trace repeated to so many MB first

Every run is a fresh process that reads the trace from start to end into batches (events, args,
losses) and drops them; its imports are not counted. Reported is the median of five. A trace is
grown by repeating its bundles with their times shifted, so that it stays one that Perfetto could
have written. The file is put into a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# This file would be taken for the package of the same name.
sys.path[:] = [folder for folder in sys.path if Path(folder) != Path(__file__).resolve().parent]

RUNS = 5
MB = 1_000_000


def measure(path: str) -> None:
    """Read *path* once, in this process, and print what it took as JSON."""
    from traceview.parsers import open_trace  # noqa: PLC0415

    trace = open_trace(path)
    # What the first batch would import is imported before the clock starts.
    import traceview.parsers.perfetto_reader  # noqa: F401, PLC0415

    cpu, wall = time.process_time(), time.perf_counter()
    events = args = batches = 0
    for batch in trace.batches():
        events += len(batch.events) + sum(batch.skipped.values())
        args += len(batch.args)
        batches += 1
    found = {
        "cpu_s": time.process_time() - cpu,
        "wall_s": time.perf_counter() - wall,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "events": events,
        "args": args,
        "batches": batches,
    }
    print(json.dumps(found))


def grow(source: Path, target: Path, megabytes: float) -> None:
    """Write *source* to *target* again and again, later each time, until it has *megabytes*."""
    from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb  # noqa: PLC0415

    from traceview.parsers.source import open_source  # noqa: PLC0415

    trace = pb.Trace.FromString(b"".join(open_source(source).chunks()))
    bundles = [packet for packet in trace.packet if packet.HasField("ftrace_events")]
    times = [event.timestamp for packet in bundles for event in packet.ftrace_events.event]
    period = max(times) - min(times) + 1_000_000
    with target.open("wb") as out:
        out.write(trace.SerializeToString())
        while out.tell() < megabytes * MB:
            for packet in bundles:
                shift(packet.ftrace_events, period)
                out.write(pb.Trace(packet=[packet]).SerializeToString())


def shift(bundle: object, by_ns: int) -> None:
    """Move all times of *bundle* by so much."""
    for event in bundle.event:  # type: ignore[attr-defined]
        event.timestamp += by_ns
    compact = bundle.compact_sched  # type: ignore[attr-defined]
    for deltas in (compact.switch_timestamp, compact.waking_timestamp):
        if deltas:
            deltas[0] += by_ns
    if bundle.previous_bundle_end_timestamp:  # type: ignore[attr-defined]
        bundle.previous_bundle_end_timestamp += by_ns  # type: ignore[attr-defined]


def report(path: Path) -> None:
    """Measure *path* RUNS times, each in its own process, and print the medians."""
    runs = [
        json.loads(
            subprocess.run(
                [sys.executable, __file__, "--measure", str(path)], check=True, capture_output=True
            ).stdout
        )
        for _ in range(RUNS)
    ]
    middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    size = path.stat().st_size / MB
    print(
        f"{path.name}: {size:.1f} MB, {middle['events']:.0f} events, {middle['args']:.0f} args:"
        f" {middle['cpu_s']:.3f} s CPU, {middle['wall_s']:.3f} s,"
        f" {middle['events'] / middle['cpu_s'] / 1e6:.2f} M events/s CPU,"
        f" {size / middle['cpu_s']:.0f} MB/s, peak {middle['peak_mb']:.0f} MB"
    )


def main() -> None:
    """Read the command line and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("traces", nargs="*", type=Path)
    parser.add_argument("--grow", type=float, metavar="MB", help="repeat each trace to this size")
    parser.add_argument("--measure", metavar="TRACE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure)
    for trace in options.traces:
        if options.grow is None:
            report(trace)
            continue
        with tempfile.TemporaryDirectory(prefix="traceview-") as folder:
            grown = Path(folder) / f"{trace.name.split('.')[0]}-{options.grow:.0f}MB.perfetto"
            grow(trace, grown, options.grow)
            report(grown)


if __name__ == "__main__":
    main()
