"""Signs that a host is itself a virtual machine. None of them tells emulation from hardware.

A guest of KVM with nested virtualisation runs on hardware, the same device tree under QEMU's TCG
is emulated: only who started it knows. So a sign is told to the user, and never becomes `origin`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

# hw/arm/virt.c of QEMU: the root node's `compatible`, and the node of its firmware device.
QEMU_COMPATIBLE: Final = "linux,dummy-virt"
# DMI's sys_vendor and product_name. Clouds call their own bare metal so too, with "metal" in it.
VENDORS: Final = (
    "QEMU", "KVM", "Amazon EC2", "Google Compute Engine", "Virtual Machine", "VMware",
    "Apple Virtualization", "Xen",
)  # fmt: skip


def virtual_hint(root: Path = Path("/")) -> str | None:
    """What says that this is a virtual machine; None: nothing does, which proves nothing."""
    tree = root / "proc/device-tree"
    if QEMU_COMPATIBLE in _text(tree / "compatible"):
        return f"the device tree is that of QEMU's machine virt ({QEMU_COMPATIBLE})"
    if any(tree.glob("fw-cfg*")):
        return "the device tree has QEMU's firmware device (fw-cfg)"
    folder = root / "sys/class/dmi/id"
    said = " ".join(_text(folder / name).strip() for name in ("sys_vendor", "product_name"))
    if any(vendor in said for vendor in VENDORS) and "metal" not in said:
        return f"DMI says {said.strip()!r}"
    kind = _text(root / "sys/hypervisor/type").strip()
    return f"/sys/hypervisor/type is {kind}" if kind else None


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""
