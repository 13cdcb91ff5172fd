"""How fast ftrace text is read: CPU time, MB and events per second, peak memory.

    python benchmarks/ftrace_text.py TRACE...              each trace as it is
    python benchmarks/ftrace_text.py --grow 1000 TRACE     the trace repeated to so many MB first

Every run is a fresh process that reads the trace from start to end into batches (events, args,
losses) and drops them; its imports are not counted, those of the parser included. MB are those of
the unpacked text. Reported is the median of five. A trace is grown by repeating its lines with
their times shifted; its header stays alone. The file is put into a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 5
MB = 1_000_000
# The time of a line: before the first colon of an event line, or in the first column of a graph.
TIME = re.compile(
    rb"^([^\n|:]*?(?::[^\n|: ][^\n|:]*?)*?)(\d+)(\.\d{6,9})(?=: | \|  )", re.MULTILINE
)


def measure(path: str) -> None:
    """Read *path* once, in this process, and print what it took as JSON."""
    from traceview.parsers import ftrace_text  # noqa: PLC0415
    from traceview.parsers.source import open_source  # noqa: PLC0415
    from traceview.trace import Want  # noqa: PLC0415
    from traceview.vocabulary import Vocabulary  # noqa: PLC0415

    source, want = open_source(path), Want(Vocabulary.builtin())
    cpu, wall = time.process_time(), time.perf_counter()
    events = args = batches = 0
    for batch in ftrace_text.read(source, want, lambda _: None):
        events += len(batch.events) + sum(batch.skipped.values())
        args += len(batch.args)
        batches += 1
    found = {
        "cpu_s": time.process_time() - cpu,
        "wall_s": time.perf_counter() - wall,
        "peak_mb": peak_mb(),
        "text_mb": sum(map(len, source.chunks())) / MB,
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


def grow(source: Path, target: Path, megabytes: float) -> None:
    """Write the lines of *source* to *target* again and again until it has *megabytes*."""
    from traceview.parsers.source import open_source  # noqa: PLC0415

    text = b"".join(open_source(source).chunks())
    header = re.match(rb"(?:(?:#[^\n]*|cpus=\d+)\n)*", text)
    assert header is not None
    lines = text[header.end() :]
    seconds = [int(match[2]) for match in TIME.finditer(lines)]
    period = max(seconds) - min(seconds) + 1 if seconds else 0
    with target.open("wb") as out:
        out.write(header[0])
        for number in range(int(megabytes * MB / len(lines)) + 1):
            out.write(shifted(lines, number * period))


def shifted(lines: bytes, seconds: int) -> bytes:
    """*lines* so many seconds later."""
    if seconds == 0:
        return lines

    def later(match: re.Match[bytes]) -> bytes:
        width = len(match[1]) + len(match[2])
        number = b"%d" % (int(match[2]) + seconds)
        return match[1][: max(0, width - len(number))] + number + match[3]

    return TIME.sub(later, lines)


def report(path: Path) -> None:
    """Measure *path* RUNS times and print a line."""
    runs = []
    for _ in range(RUNS):
        command = [sys.executable, __file__, "--measure", str(path)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        runs.append(json.loads(done.stdout))
    cpu = statistics.median(run["cpu_s"] for run in runs)
    wall = statistics.median(run["wall_s"] for run in runs)
    last = runs[-1]
    print(
        f"{path.name}: {last['text_mb']:.0f} MB, {last['events']} events, {last['args']} args,"
        f" {last['batches']} batches; CPU {cpu:.2f} s, {last['text_mb'] / cpu:.0f} MB/s,"
        f" {last['events'] / cpu / 1e6:.2f} M events/s; wall {wall:.2f} s;"
        f" peak {max(run['peak_mb'] for run in runs):.0f} MB"
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("traces", nargs="*", type=Path)
    parser.add_argument("--grow", type=float, metavar="MB")
    parser.add_argument("--measure", metavar="TRACE", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure(given.measure)
        return
    with tempfile.TemporaryDirectory() as folder:
        for trace in given.traces:
            if given.grow is None:
                report(trace)
                continue
            grown = Path(folder, f"{given.grow:.0f}MB-{trace.name.removesuffix('.zst')}")
            grow(trace, grown, given.grow)
            report(grown)
            grown.unlink()


if __name__ == "__main__":
    main()
