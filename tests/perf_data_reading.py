"""Reading perf.data in tests: from bytes to frames, and frames to what the reference has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from tests import reading
from tests.perf_data_reference import Recording, Sample
from traceview.parsers import perf_data
from traceview.trace import Want
from traceview.vocabulary import Vocabulary

if TYPE_CHECKING:
    from traceview.symbols import SymbolSources

EVENT_COLUMNS = ["ts_ns", "cpu", "tid", "name", "phase", "evidence", "symbol", "probe_ip"]
SAMPLE_COLUMNS = ["cpumode", "period", "callchain"]
NO_SAMPLE = (None, None, None)
EVERYTHING = Want(Vocabulary.builtin(), all_events=True)
NEEDED = Want(Vocabulary.builtin())


class Read(reading.Read):
    """All batches of a recording."""

    def plain(self) -> list[Sample]:
        """The events as the reference has them."""
        args: dict[int, dict[str, int | str]] = {}
        for seq, name, value, text in self.args.select("seq", "name", "value", "text").iter_rows():
            args.setdefault(seq, {})[name] = value if text is None else text
        more = {row[0]: row[1:] for row in self.samples.select("seq", *SAMPLE_COLUMNS).iter_rows()}
        return [
            Sample(
                **dict(zip(EVENT_COLUMNS, row[1:], strict=True)),
                args=args.get(row[0], {}),
                **dict(zip(SAMPLE_COLUMNS, more.get(row[0], NO_SAMPLE), strict=True)),
            )
            for row in self.events.select("seq", *EVENT_COLUMNS).iter_rows()
        ]

    def holes(self) -> list[tuple[Any, ...]]:
        """CPU, from, to and count of each loss that has a place."""
        placed = self.losses.filter(pl.col("to_ns").is_not_null())
        return sorted(placed.select("cpu", "from_ns", "to_ns", "count").rows(), key=repr)


def read(content: bytes, want: Want = EVERYTHING) -> Read:
    return Read(reading.read_file(perf_data.read, content, want))


def knowing(symbols: SymbolSources) -> Want:
    """Everything, where the user gave *symbols*."""
    return Want(Vocabulary.builtin(), all_events=True, symbols=symbols)


def assert_same(found: Read, expected: Recording) -> None:
    """The parser says what the reference says."""
    events = found.plain()
    for mine, its in zip(events, expected.samples, strict=False):
        assert mine == its
    assert len(events) == len(expected.samples)
    assert found.holes() == sorted(expected.holes, key=repr)
    guest = found.diagnostics.get("guest-cpumode")
    assert (guest.count if guest else 0) == expected.guest
