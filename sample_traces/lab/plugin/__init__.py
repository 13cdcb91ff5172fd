"""A QEMU plugin that writes what the CPU executed inside unmaps (docs/instructions.md).

`executed.c` is the plugin, `build.py` builds it, `functions.py` lists what it looks for in a
kernel. The kernel's own symbols are needed once: those of a kernel built here lie beside its image,
those of Debian's are read in a boot.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from sample_traces.lab.plugin.btf import Btf
from sample_traces.lab.plugin.build import built
from sample_traces.lab.plugin.functions import listed

if TYPE_CHECKING:
    from sample_traces.lab.folder import Folder

JOB: Final = Path(__file__).parent / "symbols.sh"
TRACE: Final = "insn.txt"


def arguments(folder: Folder, kernel: str, out: Path) -> list[str]:
    """What QEMU needs to load the plugin, which writes `insn.txt` into *out*. Raises LabError."""
    plugin = built(folder)
    functions = _functions(folder, kernel)
    values = (f"{plugin}", f"list={functions}", f"out={out / TRACE}")
    # A comma in a value is doubled (QEMU's option syntax).
    return ["-plugin", ",".join(value.replace(",", ",,") for value in values)]


def _functions(folder: Folder, kernel: str) -> Path:
    """The list of a kernel's functions, made unless it is there since the kernel was."""
    home = folder.kernels / kernel
    found = home / "functions.txt"
    if found.exists() and found.stat().st_mtime >= (home / "Image").stat().st_mtime:
        return found
    system_map = home / "System.map"
    if system_map.exists():
        lines = [*listed(system_map.read_text(encoding="ascii"), None)]
    else:
        lines = _of_boot(folder, kernel)
    found.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
    return found


def _of_boot(folder: Folder, kernel: str) -> list[str]:
    """The list, from what the kernel says of itself once it runs."""
    # Not at import: boot.py imports this module.
    from sample_traces.lab.boot import Boot, boot  # noqa: PLC0415
    from sample_traces.lab.machine import Machine  # noqa: PLC0415

    machine = Machine(cpus=1, deterministic=True)
    out = boot(folder, Boot(JOB, kernel, machine, name=f"symbols-{kernel}"))
    types = out / "btf.vmlinux"
    btf = Btf(types.read_bytes()) if types.exists() else None
    return [*listed((out / "kallsyms").read_text(encoding="ascii"), btf)]
