"""Capture on an arm64 KVM host: look at the host, plan, say what the plan can answer, record.

Nothing here imports polars or pyarrow: a recorder runs on the host that is measured, which has
little installed and should be disturbed as little as possible.
"""

from __future__ import annotations
