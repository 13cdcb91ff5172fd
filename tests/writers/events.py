"""Traces made of a few lines of Python: events in, a Trace out. No file format is involved."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import polars as pl

from traceview.schema import ARGS, EVENTS, LOSSES, conform
from traceview.trace import Batch, Settings, Trace, Want
from traceview.vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TEXTUAL = {"name", "symbol", "comm", "buffer", "phase", "evidence"}


@dataclass
class Recorder:
    """Writes events one after the other; time passes by `tick_ns` per event unless told."""

    tick_ns: int = 10
    cpu: int = 0
    tid: int = 100
    evidence: str = "kprobe"
    now_ns: int = 1_000
    events: list[dict[str, Any]] = field(default_factory=list)
    args: list[dict[str, Any]] = field(default_factory=list)
    losses: list[dict[str, Any]] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def on(self, *, tid: int | None = None, cpu: int | None = None) -> Self:
        """Go on as another task or on another CPU."""
        self.tid = self.tid if tid is None else tid
        self.cpu = self.cpu if cpu is None else cpu
        return self

    def write(self, name: str, phase: str, **fields: Any) -> int:
        """Any event; fields that are no columns become arguments. Its seq is returned."""
        seq = len(self.events)
        self.now_ns += self.tick_ns
        columns = {key: fields.pop(key) for key in tuple(fields) if key in EVENTS}
        row = {"seq": seq, "ts_ns": self.now_ns, "cpu": self.cpu, "tid": self.tid, "name": name,
               "phase": phase, "evidence": self.evidence, "comm": f"task{self.tid}"}  # fmt: skip
        self.events.append({**row, **columns})
        for key, value in fields.items():
            kind = "text" if isinstance(value, str) else "value"
            self.args.append({"seq": seq, "name": key, kind: value})
        return seq

    def enter(self, symbol: str, **fields: Any) -> int:
        """A function is entered."""
        return self.write(symbol, "entry", symbol=symbol, **fields)

    def leave(self, symbol: str, **fields: Any) -> int:
        """A function returns."""
        return self.write(f"{symbol}_ret", "exit", symbol=symbol, **fields)

    def call(self, symbol: str, **fields: Any) -> int:
        """A function is entered and returns."""
        seq = self.enter(symbol, **fields)
        self.leave(symbol)
        return seq

    def leaf(self, symbol: str, duration_ns: int) -> int:
        """A leaf line of function_graph text."""
        return self.write("funcgraph_entry", "complete", symbol=symbol, evidence="fgraph",
                          duration_ns=duration_ns)  # fmt: skip

    def marker(self, text: str) -> int:
        """A write to trace_marker."""
        return self.write("print", "instant", evidence="marker", buf=text)

    def tracepoint(self, name: str, **args: Any) -> int:
        """A tracepoint hit."""
        return self.write(name, "instant", evidence="tracepoint", **args)

    def sample(self, *frames: str | None, chain: bool = True, **fields: Any) -> int:
        """A profiler's sample; *frames* innermost first, recorded as its callchain if *chain*."""
        seq = self.write("cpu-clock", "instant", evidence="sample")
        event = self.events[-1]
        self.samples.append(
            {
                "seq": seq, "ts_ns": event["ts_ns"], "cpu": self.cpu, "tid": self.tid,
                "event": "cpu-clock", "symbol": frames[0] if frames else None,
                "frames": list(frames) if chain else None, **fields,
            }
        )  # fmt: skip
        return seq

    def trace(self, batch_events: int | None = None, settings: Settings | None = None) -> Trace:
        """What was written, as a trace that comes in batches of *batch_events*."""
        events = frame(self.events, EVENTS)
        args, losses = frame(self.args, ARGS), frame(self.losses, LOSSES)
        samples = conform("samples", pl.DataFrame(self.samples, infer_schema_length=None))

        def read(_want: Want, _progress: Callable[[float], None]) -> Iterator[Batch]:
            size = batch_events or max(1, events.height)
            for low in range(0, max(1, events.height), size):
                stretch = events[low : low + size]
                inside = pl.col("seq").is_in(stretch["seq"].implode())
                found = pl.col("to_seq").is_in(stretch["seq"].implode())
                last = low + size >= events.height
                yield Batch(
                    events=stretch,
                    args=args.filter(inside),
                    losses=losses.filter(found | (pl.lit(last) & pl.col("to_seq").is_null())),
                    samples=samples.filter(inside),
                    facts={"loss_known": True, **self.facts},
                )

        return Trace("made.trace", "made", read, Vocabulary.builtin(), settings or Settings())


def frame(rows: list[dict[str, Any]], schema: dict[str, pl.DataType]) -> pl.DataFrame:
    """Rows as a frame of *schema*; what a row does not name is null."""
    plain = {key: pl.String() if key in TEXTUAL or key == "kind" else dtype
             for key, dtype in schema.items()}  # fmt: skip
    plain |= {"name": pl.String()} if "name" in schema else {}
    return pl.DataFrame(rows, schema=plain).select(pl.col(k).cast(v) for k, v in schema.items())
