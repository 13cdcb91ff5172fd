"""Raw records of the kernel's ring buffer -> chunks of events.

trace.dat, raw per-CPU dumps and perf.data hold the same records: `common_type`, the id of an
event, and then the fields that tracefs describes for it (event_format.py). The containers find
the records and their times; here all records of one event are gathered field by field.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from traceview.parsers.chunks import Chunk
    from traceview.parsers.classes import Classes
    from traceview.parsers.columns import Bytes, Ints
    from traceview.parsers.event_format import EventFormat
    from traceview.parsers.names import Names
    from traceview.symbols import Kallsyms
    from traceview.trace import Diagnostic, Want


class Records(NamedTuple):
    """Records in the order in which they were written, per CPU at least.

    `start`: where the payload, that is `common_type`, begins in the data; `size`: its bytes;
    `ts_ns`: its time; `cpu`; `buffer`: the code of the name of the ring-buffer instance.
    """

    start: Ints
    size: Ints
    ts_ns: Ints
    cpu: NDArray[np.int32]
    buffer: NDArray[np.uint32]


class RecordDecoder:
    """Decodes records whose events *formats* describe; may be called for one stretch at a time."""

    def __init__(
        self,
        formats: Iterable[EventFormat],
        want: Want,
        names: Names,
        classes: Classes,
        kallsyms: Kallsyms | None = None,
        printk: Mapping[int, str] = {},
    ) -> None:
        """Decide what to do with each event. *printk*: trace_printk formats by address."""
        raise NotImplementedError

    def decode(self, data: Bytes, records: Records) -> tuple[Chunk, Ints]:
        """The events of *records* that are wanted, and which of the records they are (ascending).

        Others are counted by name in `skipped`; what cannot be read is counted for `diagnostics`.
        """
        raise NotImplementedError

    def diagnostics(self) -> list[Diagnostic]:
        """What was found wrong with the formats, and with all records decoded so far."""
        raise NotImplementedError
