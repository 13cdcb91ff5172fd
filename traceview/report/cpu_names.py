"""The name of a CPU by its MIDR_EL1, as far as it is well known.

Fields as in the Arm architecture reference manual: implementer [31:24], variant [23:20], part
[15:4], revision [3:0]; parts as in arch/arm64/include/asm/cputype.h (Linux 6.12) and in the
vendors' technical reference manuals. What an emulator models has the MIDR of the real thing.
"""

from __future__ import annotations

from typing import Final

IMPLEMENTERS: Final = {
    0x41: "Arm", 0x42: "Broadcom", 0x43: "Cavium", 0x46: "Fujitsu", 0x48: "HiSilicon",
    0x4E: "NVIDIA", 0x50: "APM", 0x51: "Qualcomm", 0x61: "Apple", 0x6D: "Microsoft", 0xC0: "Ampere",
}  # fmt: skip
PARTS: Final = {
    (0x41, 0xD03): "Cortex-A53", (0x41, 0xD04): "Cortex-A35", (0x41, 0xD05): "Cortex-A55",
    (0x41, 0xD07): "Cortex-A57", (0x41, 0xD08): "Cortex-A72", (0x41, 0xD09): "Cortex-A73",
    (0x41, 0xD0A): "Cortex-A75", (0x41, 0xD0B): "Cortex-A76", (0x41, 0xD0C): "Neoverse-N1",
    (0x41, 0xD0D): "Cortex-A77", (0x41, 0xD0E): "Cortex-A76AE", (0x41, 0xD40): "Neoverse-V1",
    (0x41, 0xD41): "Cortex-A78", (0x41, 0xD42): "Cortex-A78AE", (0x41, 0xD44): "Cortex-X1",
    (0x41, 0xD46): "Cortex-A510", (0x41, 0xD47): "Cortex-A710", (0x41, 0xD48): "Cortex-X2",
    (0x41, 0xD49): "Neoverse-N2", (0x41, 0xD4B): "Cortex-A78C", (0x41, 0xD4C): "Cortex-X1C",
    (0x41, 0xD4D): "Cortex-A715", (0x41, 0xD4E): "Cortex-X3", (0x41, 0xD4F): "Neoverse-V2",
    (0x41, 0xD80): "Cortex-A520", (0x41, 0xD81): "Cortex-A720", (0x41, 0xD82): "Cortex-X4",
    (0x41, 0xD83): "Neoverse-V3AE", (0x41, 0xD84): "Neoverse-V3", (0x41, 0xD85): "Cortex-X925",
    (0x41, 0xD87): "Cortex-A725", (0x41, 0xD8E): "Neoverse-N3", (0x42, 0x516): "Vulcan",
    (0x43, 0x0A1): "ThunderX", (0x43, 0x0AF): "ThunderX2", (0x46, 0x001): "A64FX",
    (0x48, 0xD01): "TSV110", (0x4E, 0x003): "Denver", (0x4E, 0x004): "Carmel",
    (0x50, 0x000): "X-Gene", (0x51, 0xC00): "Falkor", (0x61, 0x022): "M1 (Icestorm)",
    (0x61, 0x023): "M1 (Firestorm)", (0x6D, 0xD49): "Azure Cobalt 100", (0xC0, 0xAC3): "AmpereOne",
    (0xC0, 0xAC4): "AMPERE1A",
}  # fmt: skip
SOFTWARE: Final = 0x00


def cpu_name(midr: str | None) -> str | None:
    """Vendor, core and revision as `rNpM`; None where the MIDR is none or not well known."""
    try:
        value = int(midr or "", 16)
    except ValueError:
        return None
    implementer, part = value >> 24 & 0xFF, value >> 4 & 0xFFF
    if value >> 32 or (value and implementer == SOFTWARE):
        return "no vendor's core (implementer 0x00)" if not value >> 32 else None
    core = PARTS.get((implementer, part))
    if core is None:
        return None
    return f"{IMPLEMENTERS[implementer]} {core} r{value >> 20 & 0xF}p{value & 0xF}"
