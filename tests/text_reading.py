"""Reading text in tests: as a parser would a file, compared with a reference that goes by line."""

from __future__ import annotations

from collections import Counter
from io import BytesIO
from typing import TYPE_CHECKING, Any, Protocol

from traceview.parsers.source import Source
from traceview.symbols import SymbolSources
from traceview.trace import Want
from traceview.vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import polars as pl

    from tests.ftrace_text_reference import Reference
    from tests.reading import Read
    from traceview.trace import Batch


class Parse(Protocol):
    """The `read` of a parser of text."""

    def __call__(
        self,
        source: Source,
        want: Want,
        progress: Callable[[float], None],
        *,
        chunk_bytes: int,
    ) -> Iterator[Batch]: ...


def read_text(
    parse: Parse,
    data: bytes | str,
    *,
    all_events: bool = False,
    chunk_bytes: int = 1 << 22,
    batch_events: int = 250_000,
    symbols: SymbolSources | None = None,
) -> list[Batch]:
    """Read *data* as the parser would a file."""
    raw = data.encode() if isinstance(data, str) else data
    source = Source("trace.txt", BytesIO(raw), len(raw))
    known = symbols or SymbolSources()
    want = Want(Vocabulary.builtin(), all_events, batch_events, known)
    batches = list(parse(source, want, lambda _: None, chunk_bytes=chunk_bytes))
    check_batches(batches)
    return batches


def check_batches(batches: list[Batch]) -> None:
    """What every batch must hold: seq increases, all else speaks of events of their batch."""
    last = -1
    for batch in batches:
        seq = batch.events["seq"]
        assert seq.is_sorted()
        assert seq.n_unique() == len(seq)
        if len(seq):
            assert seq[0] > last
            last = seq[-1]
        assert batch.args["seq"].is_in(seq.implode()).all()
        assert batch.samples["seq"].is_in(seq.implode()).all()


def unparsed(found: Read) -> int:
    """How many lines were not understood."""
    said = found.diagnostics.get("unparsed-lines")
    return (said.count or 0) if said else 0


def differences(
    found: Read, reference: Reference, args: Iterable[tuple[Any, ...]]
) -> Iterator[str]:
    """Where the parser and the reference disagree; *args* are those that both must have."""
    yield from row_differences("event", found.events.drop("buffer"), reference.events)
    mine, other = Counter(args), Counter[tuple[Any, ...]](reference.args)
    if mine != other:
        yield f"args: extra {list(mine - other)[:3]}, missing {list(other - mine)[:3]}"
    if found.skipped != reference.skipped:
        yield f"skipped {found.skipped}, not {reference.skipped}"
    if unparsed(found) != reference.unparsed:
        yield f"unparsed {found.diagnostics.get('unparsed-lines')}, not {reference.unparsed}"
    losses = sorted(found.losses.drop("buffer").rows(named=True), key=str)
    if losses != sorted(reference.losses, key=str):
        yield f"losses {losses}, not {reference.losses}"


def row_differences(what: str, mine: pl.DataFrame, other: list[dict[str, Any]]) -> Iterator[str]:
    """The first row that differs, and whether there are as many."""
    rows = mine.rows(named=True)
    if len(rows) != len(other):
        yield f"{len(rows)} {what}s, not {len(other)}"
    pairs = zip(rows, other, strict=False)
    if first := next(((a, b) for a, b in pairs if a != b), None):
        a, b = first
        yield f"{what}: { ({k: (a[k], b.get(k)) for k in a if a[k] != b.get(k)}) }"
