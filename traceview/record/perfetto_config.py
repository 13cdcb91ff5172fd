"""The text configuration of a recording by Perfetto.

One name in function_filters that the kernel lacks makes Perfetto record nothing and say nothing: a
plan holds names of this kernel only. kprobes are defined in tracefs, because Perfetto's own have
no arguments; it records them as events of their group. Source: protos/perfetto/config/
{trace_config,ftrace/ftrace_config}.proto of v56.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from traceview.record.probes import GROUP

if TYPE_CHECKING:
    from traceview.record.plan import Plan

# All of ftrace's events of all CPUs go through one buffer, which is written to the file as it
# fills: it must hold what comes in two periods.
CENTRAL_KB = 131_072
DRAIN_MS = 250
WRITE_MS = 1000
PROCESSES = (
    'data_sources { config { name: "linux.process_stats"'
    " process_stats_config { scan_all_processes_on_start: true } } }"
)


def config_text(plan: Plan) -> str:
    """The configuration that records *plan*."""
    events = ["ftrace/print", *(one.replace(":", "/", 1) for one in plan.events)]
    if plan.probes:
        events.append(f"{GROUP}/*")
    lines = [
        f"# traceview record --preset {plan.preset} --backend perfetto",
        f"buffers {{ size_kb: {CENTRAL_KB} fill_policy: DISCARD }}",
        "write_into_file: true",
        f"file_write_period_ms: {WRITE_MS}",
        f"flush_period_ms: {5 * WRITE_MS}",
        'data_sources { config { name: "linux.ftrace" ftrace_config {',
        *(f'  ftrace_events: "{one}"' for one in events),
    ]
    if plan.graph:
        lines.append("  enable_function_graph: true")
        lines += [f'  function_filters: "{name}"' for name in plan.graph]
    lines += [
        "  symbolize_ksyms: true",
        f"  buffer_size_kb: {plan.buffer_kb}",
        f"  drain_period_ms: {DRAIN_MS}",
        "} } }",
        PROCESSES,
        'data_sources { config { name: "linux.system_info" } }',
    ]
    return "\n".join(lines) + "\n"
