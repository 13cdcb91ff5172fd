"""`python3 -m sample_traces.lab`."""

from __future__ import annotations

from sample_traces.lab.cli import run

run()
