"""Instructions that an emulator saw executed: `tlbi: op=ripas2e1is xt=0x438000008000 pc=0x...`.

Files that begin with `# clock: instructions executed` hold them (evidence `insn`), with the entry
and return of functions in the form of probes. Arguments: `op` (tlbi, dc, ic) or `option` (dsb,
isb) as text, `operand` (the register), and for tlbi what the operand says: `ipa`, `pages`,
`level` (tlbi_operand.py). The program counter (`pc`) is read only when everything is wanted.

Stores to entries of page tables, `pte: va=0x... pa=0x... old=0x... new=0x0 addr=0x80000000
level=3`, are read only then too: `va` and `pa` are the entry's own addresses, `old` and `new` what
it held, and `ipa` and `level` are what the walker visited. Source of truth: docs/instructions.md.

The operand of a range does not say in which unit its base counts. The function around it does:
its second argument (`x1`) is the address where the range begins. The unit is taken from the first
operand that is possible in one unit only, and holds for the rest of the file; before that, the
address stays null.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.parsers.ftrace_argument_text import arguments
from traceview.parsers.ftrace_text_lines import copied
from traceview.parsers.tlbi_operand import BY_IPA_RANGE, LPA2_SHIFT, decode

if TYPE_CHECKING:
    from traceview.parsers.ftrace_text_lines import Lines
    from traceview.parsers.ftrace_text_rows import Bodies, Found
    from traceview.trace import Want

NAMES: Final = ("tlbi", "dc", "ic", "dsb", "isb", "pte")
STORE: Final = "pte"
ARGUMENTS: Final = {"op": "op", "option": "option", "xt": "operand"}
OF_EVERYTHING: Final = {
    "pc": "pc", "va": "va", "pa": "pa", "old": "old", "new": "new", "addr": "ipa", "level": "level",
}  # fmt: skip
REACH: Final = 1 << 33  # bytes that one range can cover: 2^21 granules of 4K
NO_ADDRESS: Final = -1


@dataclass(slots=True)
class InstructionText:
    """Reads instruction events. `lpa2`: ranges count 64K, or their granule, or that is unknown."""

    want: Want
    lpa2: bool | None = None
    addresses: dict[int, int] = field(default_factory=dict)

    def read(self, lines: Lines, bodies: Bodies, found: Found) -> None:
        """Add the instructions, and the arguments that are wanted."""
        if not self.want.all_events:
            bodies = _without_stores(bodies, found)
        if bodies.kind.size == 0:
            return
        found.add(bodies.heads, "insn", name=bodies.names(), phase="instant")
        pairs = arguments(lines, bodies.payload, bodies.heads.end)
        known = ARGUMENTS | (OF_EVERYTHING if self.want.all_events else {})
        for name in known:
            if name not in pairs.names:
                continue
            of_name = pairs.filter(pairs.name == pairs.names.index(name))
            line = bodies.heads.line[of_name.row]
            if name in ("op", "option"):
                found.add_args(line, known[name], text=copied(of_name.raw))
            else:
                found.add_args(line, known[name], value=of_name.values()[0])

    def decode_operands(self, found: Found) -> None:
        """Add what the operands of the TLBIs in *found* say. Call when the chunk is complete."""
        if not found.args:
            return
        tlbi = pl.concat(found.events).filter(name="tlbi").select("line", "cpu").sort("line")
        if tlbi.is_empty():
            self._remember(found)
            return
        args = pl.concat(found.args)
        op = args.filter(name="op").select("line", op="text").unique("line")
        operand = args.filter(name="operand").select("line", operand="value").unique("line")
        rows = tlbi.join(op, on="line", how="left", maintain_order="left")
        rows = rows.join(operand, on="line", how="left", maintain_order="left")
        registers = rows["operand"].reinterpret(signed=False)
        lpa2 = self._units(found, rows.with_columns(operand=registers))
        said = decode(rows["op"], registers, lpa2)
        for name in ("ipa", "pages", "level"):
            has = said[name].is_not_null()
            value = said[name].filter(has)
            value = value.reinterpret(signed=True) if name == "ipa" else value.cast(pl.Int64)
            found.add_args(rows["line"].filter(has).to_numpy(), name, value=value)
        self._remember(found)

    def _units(self, found: Found, rows: pl.DataFrame) -> pl.Series:
        """Whether ranges count 64K, as far as that is known at each of *rows*."""
        ranges = rows.filter(
            pl.col("op").str.contains(BY_IPA_RANGE) & pl.col("operand").is_not_null()
        )
        if self.lpa2 is None and not ranges.is_empty():
            near = ranges.join_asof(
                self._begins(found), on="line", by="cpu", check_sortedness=False
            ).drop_nulls("begin")
            decided = near.with_columns(
                granule=_in_reach(GRANULE_SHIFT), lpa2=_in_reach(pl.lit(LPA2_SHIFT))
            ).filter(pl.col("granule") != pl.col("lpa2"))
            if not decided.is_empty():
                self.lpa2 = bool(decided["lpa2"][0])
                known = rows["line"] >= decided["line"][0]
                answer = pl.Series([self.lpa2], dtype=pl.Boolean).new_from_index(0, len(known))
                return answer.zip_with(known, answer.clear(len(known)))
        return pl.Series([self.lpa2], dtype=pl.Boolean).new_from_index(0, len(rows))

    def _begins(self, found: Found) -> pl.DataFrame:
        """Where the ranges of functions begin: `line`, `cpu`, `begin`, in order of lines.

        Line -1 stands for what earlier chunks said.
        """
        earlier = pl.DataFrame(
            {
                "line": [NO_ADDRESS] * len(self.addresses),
                "cpu": list(self.addresses),
                "begin": list(self.addresses.values()),
            },
            schema={"line": pl.Int64, "cpu": pl.Int32, "begin": pl.Int64},
        )
        begin = pl.concat(found.args).filter(name="x1").select("line", begin="value")
        cpus = pl.concat(found.events).select("line", "cpu")
        here = begin.drop_nulls().join(cpus, on="line").select("line", "cpu", "begin")
        return pl.concat([earlier, here.sort("line")])

    def _remember(self, found: Found) -> None:
        if self.lpa2 is None:
            last = self._begins(found).group_by("cpu", maintain_order=True).last()
            self.addresses = dict(zip(last["cpu"], last["begin"], strict=True))


def _without_stores(bodies: Bodies, found: Found) -> Bodies:
    """*bodies* without stores, which are counted."""
    stores = np.array([name == STORE for name in bodies.clean], np.bool_)[bodies.name]
    if not stores.any():
        return bodies
    found.skipped[STORE] += int(stores.sum())
    return bodies.take(np.flatnonzero(~stores))


GRANULE_SHIFT: Final = pl.lit(10) + 2 * (pl.col("operand") // 2**46 % 4)


def _in_reach(shift: pl.Expr) -> pl.Expr:
    base = (pl.col("operand") % 2**37) * pl.lit(2, dtype=pl.UInt64).pow(shift.cast(pl.UInt32))
    ahead = base.reinterpret(signed=True) - pl.col("begin")
    return (ahead >= 0) & (ahead < REACH)
