"""What can go wrong in the lab: one clause, then lines that say where and what would help."""

from __future__ import annotations


class LabError(Exception):
    """The lab cannot go on."""
