"""A trace and its analysis as a Perfetto trace (docs/export.md)."""
