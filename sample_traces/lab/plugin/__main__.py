"""`python3 -m sample_traces.lab.plugin kallsyms [btf.vmlinux]`: functions.py."""

from __future__ import annotations

import sys
from pathlib import Path

from sample_traces.lab.errors import LabError
from sample_traces.lab.plugin.btf import Btf
from sample_traces.lab.plugin.functions import listed

USAGE = "usage: python3 -m sample_traces.lab.plugin kallsyms [btf.vmlinux]"


def main(arguments: list[str]) -> int:
    """Print the list."""
    if len(arguments) not in (1, 2):
        print(USAGE, file=sys.stderr)
        return 2
    try:
        btf = Btf(Path(arguments[1]).read_bytes()) if len(arguments) > 1 else None
        print(*listed(Path(arguments[0]).read_text(encoding="ascii"), btf), sep="\n")
    except (LabError, OSError, UnicodeDecodeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
