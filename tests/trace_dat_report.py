"""What `trace-cmd report` printed, as rows that can be compared with the parser's events.

One line is one event, but for a leaf of function_graph: `funcgraph_entry: 1.2 us | f();` stands for
an entry and the exit that follows it, where no other CPU's event lies in between. Times are
rounded to microseconds, half up, or are nanoseconds (-t, and clocks trace-cmd does not know: boot).
"""

from __future__ import annotations

import polars as pl

LINE = (
    r"^(?:\s*(?P<buffer>\S+):\s)?\s*(?P<comm>\S.*?)?-(?P<tid>\d+)\s+"
    r"(?:\[(?P<cpu>\d+)\](?P<flags>-0x[0-9a-f]+|\s[.A-Za-z]\S{4})?|(?P<latency_cpu>\d+)\S{5})\s*"
    r"(?P<seconds>\d+\.)?(?P<fraction>\d+):\s+(?P<name>\S+):(?P<rest>.*)$"
)
LEAF = r"\|\s+\S+\(.*\);"
# What trace-cmd prints and the parser says in another way.
IN_ITS_EVENT = {
    "kernel_stack": "a stack is the argument `stack` of the event that it follows",
    "user_stack": "a stack is the argument `stack` of the event that it follows",
}
ROW = ["ts_ns", "tid", "name", "leaf"]
SAME = ("cpu", "tid", "symbol")  # of an entry and its exit


def report_rows(text: str) -> pl.DataFrame:
    """The events of a report: cpu, ts_ns (as printed), digits, tid, name, rest, leaf, buffer."""
    lines = pl.Series("line", text.splitlines(), dtype=pl.String)
    parts = lines.str.extract_groups(LINE).struct.unnest()
    found = parts.filter(pl.col("tid").is_not_null())
    seconds = pl.col("seconds").str.strip_chars_end(".").cast(pl.Int64)
    digits = pl.col("fraction").str.len_chars().cast(pl.Int64)
    fraction = pl.col("fraction").cast(pl.Int64)
    return found.select(
        pl.coalesce("cpu", "latency_cpu").cast(pl.Int32).alias("cpu"),
        pl.when(seconds.is_null())
        .then(fraction)
        .otherwise(seconds * 10**9 + fraction * pl.lit(10).pow(9 - digits).cast(pl.Int64))
        .alias("ts_ns"),
        pl.when(seconds.is_null()).then(9).otherwise(digits).alias("digits"),
        pl.col("tid").cast(pl.Int32),
        "name",
        "rest",
        ((pl.col("name") == "funcgraph_entry") & pl.col("rest").str.contains(LEAF)).alias("leaf"),
        "buffer",
    )


def event_rows(events: pl.DataFrame, digits: int, *, raw: bool = False) -> pl.DataFrame:
    """The parser's events as a report of so many digits would show them.

    Leaves are one row, but for a *raw* report (-R), which prints every record.
    """
    name, symbol = pl.col("name").cast(pl.String), pl.col("symbol").cast(pl.String)
    unit = 10 ** (9 - digits)
    rows = events.sort("seq").with_columns(name.alias("name"), symbol.alias("symbol"))
    same = [pl.col(c).shift(-1).over("buffer").eq_missing(pl.col(c)) for c in SAME]
    is_exit = pl.col("name").shift(-1).over("buffer") == "funcgraph_exit"
    leaf = pl.all_horizontal(pl.lit(not raw), pl.col("name") == "funcgraph_entry", is_exit, *same)
    rows = rows.with_columns(leaf.fill_null(value=False).alias("leaf"))
    covered = pl.col("leaf").shift(1).over("buffer").fill_null(value=False)
    return rows.filter(~covered).with_columns(
        ((pl.col("ts_ns") + unit // 2) // unit * unit).alias("ts_ns")
    )


def agrees(events: pl.DataFrame, report: str, *, raw: bool) -> int:
    """Hold the events of each CPU to a report of them; returns how many there are."""
    printed = report_rows(report).filter(~pl.col("name").is_in(list(IN_ITS_EVENT)))
    assert len(printed) > 0
    digits = int(printed["digits"].to_list()[0])
    rows = event_rows(events, digits, raw=raw)
    for lane, mine in rows.group_by("buffer", "cpu"):
        buffer, cpu = lane
        theirs = printed.filter(pl.col("buffer").eq_missing(pl.lit(buffer)), pl.col("cpu") == cpu)
        got, expected = mine.sort("seq").select(ROW), theirs.select(ROW)
        if raw:
            got, expected = got.drop("leaf"), expected.drop("leaf")
        assert got.equals(expected), f"CPU {cpu} of buffer {buffer}"
    assert len(rows) == len(printed)
    return len(rows)
