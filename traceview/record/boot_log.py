"""What the kernel said while it booted: which features it uses, and in which mode KVM runs.

It says what the kernel *uses*, which is what counts: ID registers are partly hidden from user
space (FTR_HIDDEN, arch/arm64/kernel/cpufeature.c). The messages are those of
arch/arm64/kernel/{cpufeature.c,cpu_errata.c}, arch/arm64/kvm/arm.c and
drivers/clocksource/arm_arch_timer.c, 5.10 to 7.1. A message that is missing means "no" only of a
log that still has its first line.
"""

from __future__ import annotations

import re
from typing import Any, Final

FIRST_LINE: Final = "Booting Linux on physical CPU"
FEATURES: Final = {
    "fwb": "Stage-2 Force Write-Back",
    "tlbirange": "TLB range maintenance instructions",
    "lpa2": "52-bit Virtual Addressing for KVM (LPA2)",
    "dic": "Instruction cache invalidation not required for I/D coherence",
    "idc": "Data cache clean to the PoU not required for I/D coherence",
}
DETECTED: Final = re.compile(r"CPU features: detected: (.+?)(?: on CPU[\d,-]+)?\s*$", re.MULTILINE)
ERRATUM: Final = re.compile(r"errat|Broken broadcast TLBI", re.IGNORECASE)
REPEAT_TLBI: Final = "Broken broadcast TLBI completion"
# "VHE", "VHE+NV2", "Hyp nVHE", "Hyp hVHE", "Protected nVHE", "Protected hVHE"; "Hyp" until 6.4.
MODE: Final = re.compile(r"(Protected |Hyp )?(?:([nh]?)VHE(?:\+NV2)? )?mode initialized success")
COUNTER: Final = re.compile(r"arch_timer: .* running at (\d+)\.(\d\d)MHz")


def is_whole(log: str) -> bool:
    """Whether the log still has its beginning."""
    return FIRST_LINE in log


def features(log: str) -> dict[str, Any]:
    """The keys of the sidecar's `host` that the log decides."""
    found: dict[str, Any] = {}
    detected = set(DETECTED.findall(log))
    for key, message in FEATURES.items():
        if message in detected:
            found[key] = True
        elif is_whole(log):
            found[key] = False
    counter = COUNTER.search(log)
    if counter is not None:
        found["cntfrq_hz"] = int(counter[1]) * 1_000_000 + int(counter[2]) * 10_000
    if is_whole(log):
        names = {one.replace(REPEAT_TLBI, "REPEAT_TLBI") for one in detected if ERRATUM.search(one)}
        found["errata"] = ",".join(sorted(names)) or "none"
    return found


def kvm_mode(log: str) -> str | None:
    """vhe, nvhe (and hVHE: EL2 is as invisible) or protected; None where the log does not say."""
    found = MODE.search(log)
    if found is None:
        return None
    if found[1] == "Protected ":
        return "protected"
    return "nvhe" if found[1] == "Hyp " else "vhe" if found[2] == "" else None
