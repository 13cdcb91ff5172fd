"""Kernels that are built from Debian's source with patches, two of them broken on purpose."""
