"""Arguments of calls by role, kept apart from the rows: most rows have none.

An argument belongs to the event that carried it, known by its `seq`: entries have addresses,
lengths and levels, exits the return value. What a name means is the vocabulary's knowledge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.queries.functions import ROLES, Functions
from traceview.queries.rows import NIL

if TYPE_CHECKING:
    from traceview.queries.rows import Ints, Rows

# The roles that calls have; `pages` and `end_addr` are said as `length_bytes`.
ARGUMENTS: Final = ("ipa", "length_bytes", "level", "mmu", "object_addr", "ret")


class Arguments:
    """The arguments of the events that are still of interest, in order of `seq` per role."""

    def __init__(self) -> None:
        """Start with none."""
        nothing = np.empty(0, dtype=np.int64)
        self._seq: dict[str, Ints] = dict.fromkeys(ARGUMENTS, nothing)
        self._value: dict[str, Ints] = dict.fromkeys(ARGUMENTS, nothing)

    def add(
        self, rows: Rows, args: pl.DataFrame, functions: Functions, page_size_bytes: int
    ) -> None:
        """Take the arguments (schema.ARGS) of the events in *rows*."""
        args = args.filter(pl.col("value").is_not_null())
        if args.is_empty() or rows["seq"].size == 0:
            return
        seq = args["seq"].to_numpy()
        at = np.minimum(np.searchsorted(rows["seq"], seq), rows["seq"].size - 1)
        hit = (rows["seq"][at] == seq) & (rows["function"][at] >= 0)
        function = rows["function"][at[hit]].astype(np.int32)
        roles = functions.roles(function, args["name"].filter(pl.Series(hit)))
        seq, value = seq[hit], args["value"].to_numpy()[hit]
        found = {name: roles == code for code, name in enumerate(ROLES)}
        for name in ARGUMENTS:
            said = value[found[name]]
            # An int: a probe that records the whole register has no more to say.
            said = said.astype(np.int32).astype(np.int64) if name == "level" else said
            self._extend(name, seq[found[name]], said)
        pages, ends = found["pages"], found["end_addr"]
        self._extend("length_bytes", seq[pages], value[pages] * page_size_bytes)
        start = self.of("object_addr", seq[ends])
        known = start != NIL
        self._extend("length_bytes", seq[ends][known], value[ends][known] - start[known])

    def of(self, role: str, seq: Ints) -> Ints:
        """The argument of that role of each event, NIL where it has none."""
        known, values = self._seq[role], self._value[role]
        if known.size == 0:
            return np.full(seq.size, NIL, dtype=np.int64)
        at = np.minimum(np.searchsorted(known, seq), known.size - 1)
        return np.where(known[at] == seq, values[at], NIL)

    def keep(self, seq: Ints) -> None:
        """Forget all but those of the events *seq*, which are in order."""
        for role in ARGUMENTS:
            known = self._seq[role]
            at = np.minimum(np.searchsorted(seq, known), max(seq.size - 1, 0))
            kept = seq[at] == known if seq.size else np.zeros(known.size, dtype=bool)
            self._seq[role], self._value[role] = known[kept], self._value[role][kept]

    def _extend(self, role: str, seq: Ints, value: Ints) -> None:
        if seq.size == 0:
            return
        seq = np.concatenate([self._seq[role], seq])
        value = np.concatenate([self._value[role], value])
        if np.any(seq[1:] < seq[:-1]):
            order = np.argsort(seq, kind="stable")
            seq, value = seq[order], value[order]
        self._seq[role], self._value[role] = seq, value
