"""What a dashboard of many unmaps costs: CPU time beyond reading, size, and time until it is drawn.

    python benchmarks/dashboard.py TOP [SPLIT] [--unmaps 1000000] [--runs 3] [--work DIR]

TOP is a text capture of whole unmaps (small: only kvm_pgtable_stage2_unmap was traced), which is
repeated until it holds so many; SPLIT, a capture of the same work in detail, is repeated 25 times
and read beside it. `analyze --quiet` and `analyze --quiet --html` run in turn, each in a process of
its own; then the page is opened in Debian's chromium, without a network.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from analyze import run
from growing import content, grow_text

SPLIT_REPEATS = 25
# Tasks of more than 50 ms, in which a page does not answer.
LONG_TASKS = """window.longTasks = [];
new PerformanceObserver((list) => {
  for (const { duration } of list.getEntries()) window.longTasks.push(duration);
}).observe({ type: "longtask", buffered: true });"""
PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


def unmaps_in(path: Path) -> int:
    """How many unmaps *path* holds."""
    from traceview.parsers import open_trace  # noqa: PLC0415 - only once
    from traceview.queries import analyze  # noqa: PLC0415

    return len(analyze(open_trace(path)).unmaps)


def grown(given: argparse.Namespace, folder: Path) -> list[Path]:
    """The inputs, made if they are not there."""
    top = folder / "top.txt"
    if not top.exists():
        data = content(given.top)
        grow_text(data, top, len(data) * given.unmaps / unmaps_in(given.top))
    if given.split is None:
        return [top]
    split = folder / "split.txt"
    if not split.exists():
        data = content(given.split)
        grow_text(data, split, len(data) * SPLIT_REPEATS)
    return [top, split]


def opened(path: Path, runs: int) -> tuple[float, float, float]:
    """Milliseconds to the first paint, until all is drawn, and of the longest task: medians."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - a browser is optional

    found = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        for _ in range(runs):
            page = browser.new_context(offline=True).new_page()
            page.add_init_script(LONG_TASKS)
            page.goto(path.as_uri())
            page.wait_for_selector("html[data-drawn]", state="attached")
            drawn = page.evaluate("performance.now()")
            tasks = page.evaluate("window.longTasks")
            found.append((page.evaluate(PAINT), drawn, max(tasks, default=0)))
            page.close()
        browser.close()
    paint, drawn, longest = (statistics.median(column) for column in zip(*found, strict=True))
    return paint, drawn, longest


def main() -> None:
    """Measure what the command line names."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("top", type=Path)
    arguments.add_argument("split", type=Path, nargs="?")
    arguments.add_argument("--unmaps", type=int, default=1_000_000)
    arguments.add_argument("--runs", type=int, default=3)
    arguments.add_argument("--work", type=Path)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.work or Path(temporary)
        paths = grown(given, folder)
        page = folder / "page.html"
        command = [sys.executable, "-m", "traceview", "analyze", "--quiet", *map(str, paths)]
        plain, html = [], []
        for _ in range(given.runs):
            plain.append(run(command))
            html.append(run([*command, "--html", str(page), "--force"]))
        without, with_ = (statistics.median(cpu for cpu, _, _ in of) for of in (plain, html))
        peak = [max(peak for _, _, peak in of) for of in (plain, html)]
        print(f"input: {', '.join(f'{path.stat().st_size / 1e6:.0f} MB' for path in paths)}")
        print(f"analyze --quiet: {without:.2f} s CPU, {peak[0]:.0f} MiB")
        print(f"with --html: {with_:.2f} s CPU, {peak[1]:.0f} MiB: {with_ / without:.2f} times")
        print(f"beyond parsing: {with_ - without:.2f} s CPU; page {page.stat().st_size:,} bytes")
        paint, drawn, longest = opened(page, given.runs)
        print(
            f"chromium: first paint after {paint:.0f} ms, all charts drawn after {drawn:.0f} ms,"
            f" longest task {longest:.0f} ms"
        )


if __name__ == "__main__":
    main()
