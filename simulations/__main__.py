"""Run every simulation and write the tables of README.md; `--trials N` for a quicker look.

    python -m simulations [--trials N]

The same numbers come out on every run. Ten minutes on one core or less.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

import simulations
from simulations.tables import TABLES, as_markdown

README = Path(simulations.__file__).parent / "README.md"
MARK = "<!-- written by python -m simulations -->"


def main() -> None:
    """Write what stands below the mark in README.md."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--trials", type=int, default=4000)
    trials = options.parse_args().trials
    parts = []
    for table in TABLES:
        started = time.process_time()
        parts.append(as_markdown(table, trials))
        print(f"{table.title}: {time.process_time() - started:.0f} s", flush=True)
    above = README.read_text(encoding="utf-8").partition(MARK)[0]
    said = f"{trials} trials per cell where nothing else is said; NumPy {np.__version__}."
    README.write_text("\n".join([above + MARK, "", said, "", *parts]), encoding="utf-8")


if __name__ == "__main__":
    main()
