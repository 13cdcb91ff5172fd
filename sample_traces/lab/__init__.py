"""Real arm64 kernels with KVM under QEMU, and a workload whose truth is known (README.md)."""

from __future__ import annotations
