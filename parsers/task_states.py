"""`prev_state` of sched_switch in letters.

Source of truth: include/linux/sched.h and trace/events/sched.h of Linux 4.14 and later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from traceview.parsers.columns import Ints

STATE_LETTERS: Final = "SDTtXZPI"
PREEMPTED: Final = 1 << len(STATE_LETTERS)


def state_text(state: int) -> str:
    """prev_state as the kernel prints it: S, D|K, R+ ..."""
    letters = [letter for bit, letter in enumerate(STATE_LETTERS) if state >> bit & 1]
    return ("|".join(letters) or "R") + ("+" if state & PREEMPTED else "")


def state_texts(states: Ints) -> pl.Series:
    """prev_state of many switches."""
    distinct, at = np.unique(states, return_inverse=True)
    return pl.Series([state_text(one) for one in distinct.tolist()], dtype=pl.String).gather(at)
