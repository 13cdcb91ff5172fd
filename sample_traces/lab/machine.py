"""The emulated machine: QEMU's command line.

QEMU's `virt` with EL2 (virtualization=on): KVM works inside, in VHE mode unless asked otherwise.
CPU model `max` has FEAT_TLBIRANGE, FEAT_S2FWB, DIC and IDC, `neoverse-n1` has none of them.
Sources: docs/system/arm/virt.rst, docs/system/arm/cpu-features.rst of QEMU 10.0;
kvm-arm.mode in Documentation/admin-guide/kernel-parameters.txt of Linux 6.12.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sample_traces.lab.errors import LabError
from sample_traces.lab.requirements import QEMU

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sample_traces.lab.folder import Folder

# SVE and SME cost time at every context switch and change nothing here; the default algorithm of
# pointer authentication is many times slower to emulate than QEMU's own.
CPU_MODELS: Final = {
    "max": "max,pauth-impdef=on,sve=off,sme=off",
    "neoverse-n1": "neoverse-n1",
}
MODES: Final = {"vhe": "", "nvhe": "kvm-arm.mode=nvhe", "protected": "kvm-arm.mode=protected"}
# No speculation to mitigate; functions have the same addresses in every boot; a panic ends it.
KERNEL_ARGUMENTS: Final = (
    "console=ttyAMA0 quiet loglevel=4 panic=-1 mitigations=off nokaslr rcupdate.rcu_expedited=1"
)
# For kernels that bring their drivers and no initrd.
ROOT_ARGUMENTS: Final = "root=/dev/vda rootfstype=ext4 ro init=/init"


@dataclass(frozen=True, slots=True)
class Machine:
    """What is emulated. *deterministic*: one CPU whose clock counts its instructions, 1 = 1 ns."""

    cpu: str = "max"
    cpus: int = 2
    memory_mib: int = 3072
    mode: str = "vhe"
    deterministic: bool = False
    huge_pages: int = 20
    kernel_arguments: str = ""


def checked(machine: Machine) -> Machine:
    """The machine, or LabError that says what is valid."""
    if machine.cpu not in CPU_MODELS:
        raise LabError(f"no CPU model {machine.cpu!r}\nthere are: {', '.join(CPU_MODELS)}")
    if machine.mode not in MODES:
        raise LabError(f"no mode {machine.mode!r}\nthere are: {', '.join(MODES)}")
    if machine.deterministic and machine.cpus != 1:
        raise LabError("deterministic time needs one CPU: --cpus 1")
    return machine


def command(
    machine: Machine, folder: Folder, kernel: str, share: Path, more: Sequence[str] = ()
) -> list[str]:
    """QEMU's command line; the console is its standard output."""
    home = folder.kernels / kernel
    if machine.deterministic:
        time = ["-accel", "tcg,thread=single,tb-size=1024", "-icount", "shift=0,sleep=off"]
    else:
        time = ["-accel", "tcg,thread=multi,tb-size=1024"]
    words = [KERNEL_ARGUMENTS, f"hugepages={machine.huge_pages}", MODES[machine.mode]]
    initrd = home / "initrd.gz"
    words += ["" if initrd.exists() else ROOT_ARGUMENTS, machine.kernel_arguments]
    return [
        QEMU,
        *("-machine", "virt,virtualization=on,gic-version=3", "-cpu", CPU_MODELS[machine.cpu]),
        *time,
        *("-smp", str(machine.cpus), "-m", f"{machine.memory_mib}M"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio"),
        *("-kernel", str(home / "Image")),
        *(("-initrd", str(initrd)) if initrd.exists() else ()),
        *("-append", " ".join(word for word in words if word)),
        *("-drive", f"file={folder.root_image},format=raw,if=none,id=root,readonly=on"),
        *("-device", "virtio-blk-pci,drive=root"),
        *("-virtfs", _shared(share)),
        *more,
    ]


def _shared(share: Path) -> str:
    # A comma in a value is doubled (QEMU's option syntax).
    path = str(share).replace(",", ",,")
    return f"local,path={path},mount_tag=share,security_model=none,multidevs=remap"
