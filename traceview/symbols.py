"""Addresses and probe event names -> the kernel's function names.

An operation is recognised by the *probed symbol*, never by the name that the user gave to the
probe event. Text traces print the symbol; Perfetto and binary formats may hold an address only,
or nothing but the event's name. Sources of truth: /proc/kallsyms (`ADDRESS TYPE NAME [MODULE]`)
and tracefs `kprobe_events` (Documentation/trace/kprobetrace.rst).
"""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from traceview.errors import SettingError
from traceview.schema import NAME, PHASE, list_column
from traceview.vocabulary import strip_suffix

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# A kprobe on a function's entry may sit behind the BTI/PAC landing pad and the patchable nops.
ENTRY_SLACK_BYTES = 12
# Farther from the symbol below it an address is in no function of a symbol table, but between the
# kernel and a module, or behind a part of the table that is missing.
MAX_FUNCTION_BYTES = 1 << 20
# Where the last function ends, a symbol table does not say; few are longer than a page.
LAST_FUNCTION_BYTES = 4096
CHECKED_ADDRESSES = 10_000

KEYS = ["name", "probe_ip", "phase", "evidence"]

KERNEL_BEGINS = ("_text", "_stext")

KPROBE_EVENT = re.compile(
    r"^(?P<kind>[pr])\d*(?::(?:(?P<group>\w+)/)?(?P<event>\w+))?\s+"
    r"(?:\w+:)?(?P<symbol>[A-Za-z_][\w.$]*)(?:\+(?P<offset>0x[0-9a-f]+|\d+))?(?P<ret>%return)?"
)
FPROBE_EVENT = re.compile(
    r"^f\d*(?::(?:(?P<group>\w+)/)?(?P<event>\w+))?\s+(?P<symbol>[A-Za-z_][\w.$]*)"
    r"(?P<ret>%return)?"
)


@dataclass(frozen=True, slots=True)
class Probe:
    """One line of tracefs `kprobe_events`: `phase` is entry, exit, or instant (mid-function)."""

    symbol: str
    phase: str
    evidence: str


@dataclass(frozen=True, slots=True)
class Kallsyms:
    """A symbol table: `addresses` ascending (uint64), `names` beside them."""

    addresses: np.ndarray
    names: np.ndarray

    @property
    def names_sha256(self) -> str:
        """The digest of the names in order, which does not tell where the kernel was."""
        names = "\n".join(self.names.tolist())
        return hashlib.sha256(names.encode("utf-8", "surrogateescape")).hexdigest()

    def resolve(self, addresses: pl.Series) -> pl.DataFrame:
        """One row per address (UInt64): `symbol` and `offset` in bytes, null outside the table."""
        wanted = addresses.to_numpy().astype(np.uint64)
        at = np.searchsorted(self.addresses, wanted, side="right") - 1
        base = self.addresses[np.maximum(at, 0)]
        last = at == len(self.addresses) - 1
        longest = np.where(last, LAST_FUNCTION_BYTES, MAX_FUNCTION_BYTES).astype(np.uint64)
        rows = pl.DataFrame(
            {
                "symbol": pl.Series(self.names[np.maximum(at, 0)], dtype=pl.String),
                "offset": (wanted - base).astype(np.int64),
                "found": (at >= 0) & (wanted - base < longest),
            }
        )
        return rows.select(pl.when("found").then(pl.col("symbol", "offset")))


class TableCheck:
    """Whether a symbol table is of the traced kernel and boot: functions must begin at symbols.

    It looks at the addresses of functions that returned (return probes, function graph), which are
    always those of their entry.
    """

    def __init__(self, kallsyms: Kallsyms) -> None:
        """Have seen no address yet."""
        self._kallsyms = kallsyms
        self.contradicted: dict[str, tuple[str, str]] = {}  # event: as defined, by the table
        self._seen = np.zeros(0, dtype=np.uint64)

    def add(self, functions: pl.DataFrame) -> None:
        """Take in `probe_ip` of rows with `phase` and `evidence`; each address counts once."""
        kind, phase = pl.col("evidence"), pl.col("phase")
        begin = (kind == "fgraph") | (kind.is_in(["kprobe", "fprobe"]) & (phase == "exit"))
        found = functions.filter(begin)["probe_ip"].drop_nulls()
        if len(found) and len(self._seen) < CHECKED_ADDRESSES:
            new = np.union1d(self._seen, found.to_numpy())
            self._seen = new[:CHECKED_ADDRESSES]

    def compare(self, known: pl.DataFrame) -> None:
        """Take in rows with `found_symbol` (as defined), `at` and `offset` (by the table)."""
        told = known.filter(pl.col("offset") <= ENTRY_SLACK_BYTES).select(
            pl.col("name", "found_symbol", "at").cast(pl.String)
        )
        for name, defined, at in told.drop_nulls().unique().iter_rows():
            if strip_suffix(defined) != strip_suffix(at):
                self.contradicted[name] = (defined, at)

    @property
    def addresses(self) -> int:
        """How many addresses were looked at."""
        return len(self._seen)

    def misses(self) -> int:
        """How many of them are not where a function of the table begins."""
        offset = self._kallsyms.resolve(pl.Series(self._seen, dtype=pl.UInt64))["offset"]
        return int((offset.is_null() | (offset > ENTRY_SLACK_BYTES)).sum())


@dataclass(frozen=True, slots=True)
class SymbolSources:
    """What names a probe: definitions by event name, and a symbol table for addresses.

    `names_sha256`: of the names of a table that named addresses before these were replaced.
    """

    probes: Mapping[str, Probe] = field(default_factory=dict)
    kallsyms: Kallsyms | None = None
    names_sha256: str | None = None


def parse_kprobe_events(text: str) -> dict[str, Probe]:
    """Probe definitions by event name, with and without the group (`kvmlab/s2_unmap`).

    Lines that define no named probe on a symbol (uprobes, raw addresses) are left out.
    """
    probes: dict[str, Probe] = {}
    for line in text.splitlines():
        fprobe = FPROBE_EVENT.match(line)
        match = fprobe or KPROBE_EVENT.match(line)
        # perf probe defines its probes by their distance from the beginning of the kernel.
        if match is None or match["event"] is None or match["symbol"] in KERNEL_BEGINS:
            continue
        returns = match["ret"] is not None or (fprobe is None and match["kind"] == "r")
        offset = 0 if fprobe else int(match["offset"] or "0", 0)
        phase = "exit" if returns else "entry" if offset == 0 else "instant"
        probe = Probe(match["symbol"], phase, "fprobe" if fprobe else "kprobe")
        probes[match["event"]] = probe
        if match["group"]:
            probes[f"{match['group']}:{match['event']}"] = probe
    return probes


def read_kallsyms(path: Path) -> Kallsyms:
    """The text symbols of a copy of /proc/kallsyms.

    Raises SettingError when it cannot be read, holds no symbol, or hides its addresses
    (kptr_restrict prints every address as 0).
    """
    try:
        symbols = _text_symbols(path.read_bytes())
    except OSError as err:
        raise SettingError(f"symbol table cannot be read: {path}: {err.strerror}") from err
    if symbols.is_empty():
        raise SettingError(f"no symbols in {path}\nexpected lines as in /proc/kallsyms")
    found = _kallsyms(symbols)
    if found is None:
        raise SettingError(
            f"all addresses in {path} are 0\ncopy /proc/kallsyms as root with kptr_restrict=0 or 1"
        )
    return found


def parse_kallsyms(text: bytes) -> Kallsyms | None:
    """The text symbols of the content of /proc/kallsyms, None where it says no address."""
    return _kallsyms(_text_symbols(text))


def _text_symbols(text: bytes) -> pl.DataFrame:
    """`address` and `name` of the lines that name functions, in their order.

    Mapping symbols (`$x`: code begins here) are no functions.
    """
    columns = dict.fromkeys(("address", "type", "name"), pl.String())
    lines = pl.read_csv(
        io.BytesIO(b"- - -\n" + text), has_header=False, schema=columns, separator=" ",
        quote_char=None, truncate_ragged_lines=True, encoding="utf8-lossy",
    )  # fmt: skip
    function = pl.col("type").is_in(["t", "T", "w", "W"])
    address = pl.col("address").str.contains("^[0-9a-f]{1,16}$")
    return (
        lines.filter(function & address)
        .select(
            pl.col("address").str.to_integer(base=16, dtype=pl.UInt64),
            pl.col("name").str.extract(r"^([^\s$]\S*)"),
        )
        .drop_nulls()
    )


def _kallsyms(symbols: pl.DataFrame) -> Kallsyms | None:
    """Of several names of an address the first counts, as it does for the kernel."""
    if not (symbols["address"] > 0).any():
        return None
    table = symbols.unique("address", keep="first", maintain_order=True).sort("address")
    return Kallsyms(table["address"].to_numpy(), table["name"].to_numpy())


def name_probes(
    events: pl.DataFrame, sources: SymbolSources, check: TableCheck | None = None
) -> pl.DataFrame:
    """*events* with `symbol` and `phase` filled in for functions that the file left unnamed.

    Only rows of traced functions (probes, function graph, function tracer) with a null symbol are
    touched. A definition by event name wins over an address; for a probe, an address inside a
    function, beyond its entry, becomes `instant`. *check* hears of their addresses.
    """
    if not (sources.probes or sources.kallsyms):
        return events
    traced = pl.col("evidence").is_in(["kprobe", "fprobe", "fgraph", "function"])
    nameless = pl.col("symbol").is_null() & traced
    rows = events.filter(nameless).select(KEYS).unique()
    if rows.is_empty():
        return events
    if check is not None:
        check.add(rows)
    known = rows.join(_defined(sources.probes), on="name", how="left", maintain_order="left")
    if sources.kallsyms is not None:
        found = sources.kallsyms.resolve(known["probe_ip"].fill_null(0)).rename({"symbol": "at"})
        if check is not None:
            check.compare(known.hstack(found))
        probed = pl.col("evidence").is_in(["kprobe", "fprobe"])
        inside = probed & (pl.col("phase") == "entry") & (pl.col("offset") > ENTRY_SLACK_BYTES)
        known = known.hstack(found).with_columns(
            pl.coalesce("found_symbol", "at").alias("found_symbol"),
            pl.coalesce("found_phase", pl.when(inside).then(pl.lit("instant", dtype=PHASE))).alias(
                "found_phase"
            ),
        )
    known = known.select(*KEYS, pl.col("found_symbol").cast(NAME), "found_phase")
    joined = events.join(known, on=KEYS, how="left", nulls_equal=True, maintain_order="left")
    return joined.with_columns(
        pl.when(nameless).then("found_symbol").otherwise("symbol").alias("symbol"),
        pl.when(nameless & pl.col("found_phase").is_not_null())
        .then("found_phase")
        .otherwise("phase")
        .alias("phase"),
    ).drop("found_symbol", "found_phase")


def name_frames(samples: pl.DataFrame, sources: SymbolSources) -> pl.DataFrame:
    """*samples* with `symbol` and `frames` filled in from addresses that the file left unnamed."""
    if sources.kallsyms is None or samples.is_empty():
        return samples
    chains = samples["callchain"].fill_null([])
    names = sources.kallsyms.resolve(chains.explode(empty_as_null=False))["symbol"].cast(NAME)
    offsets = np.concatenate([[0], np.cumsum(chains.list.len().to_numpy(), dtype=np.int64)])
    known = samples["callchain"].is_not_null()
    frames = pl.select(pl.when(known).then(list_column(names, offsets)))
    at_ip = sources.kallsyms.resolve(samples["ip"].fill_null(0))["symbol"].cast(NAME)
    return samples.with_columns(
        pl.coalesce("symbol", at_ip), pl.coalesce("frames", frames.to_series())
    )


def _defined(probes: Mapping[str, Probe]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "name": list(probes),
            "found_symbol": [probe.symbol for probe in probes.values()],
            "found_phase": [probe.phase for probe in probes.values()],
        },
        schema={"name": NAME, "found_symbol": pl.String, "found_phase": PHASE},
    )
