"""What `traceview analyze FILE` costs: CPU time, wall time and peak memory of the whole process.

    python benchmarks/analyze.py FILE... [--runs 5]

Each run is a process of its own. The cost of the imports alone (`traceview info --help` does not
import them, so a process that imports what `analyze` imports and stops) is measured beside it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

IMPORTS = "import traceview.cli.analyze, traceview.parsers.perfetto, traceview.parsers.ftrace_text;"
IMPORTS += "import traceview.queries, traceview.report.terminal, rich.console, polars, pyarrow"


def run(command: list[str]) -> tuple[float, float, float]:
    """CPU seconds, wall seconds and peak MiB of one process."""
    start = time.perf_counter()
    pid = os.posix_spawn(
        command[0], command, os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
    )  # fmt: skip
    _, status, usage = os.wait4(pid, 0)
    wall = time.perf_counter() - start
    if status != 0:
        sys.exit(f"failed: {' '.join(command)}")
    return usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024


def median(command: list[str], runs: int) -> tuple[float, float, float]:
    """The median of each figure over *runs* processes."""
    cpu, wall, peak = zip(*(run(command) for _ in range(runs)), strict=True)
    return statistics.median(cpu), statistics.median(wall), statistics.median(peak)


def main() -> None:
    """Measure every file named on the command line."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("files", nargs="+", type=Path)
    arguments.add_argument("--runs", type=int, default=5)
    given = arguments.parse_args()
    base = median([sys.executable, "-c", IMPORTS], given.runs)
    print(f"{'imports alone':40} {base[0]:7.2f} s CPU {base[1]:7.2f} s wall {base[2]:7.0f} MiB")
    for file in given.files:
        command = [sys.executable, "-m", "traceview", "analyze", "--quiet", str(file)]
        cpu, wall, peak = median(command, given.runs)
        print(
            f"{file.name:40} {cpu:7.2f} s CPU {wall:7.2f} s wall {peak:7.0f} MiB"
            f"  (beyond imports: {cpu - base[0]:.2f} s CPU)"
        )


if __name__ == "__main__":
    main()
