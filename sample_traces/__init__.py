"""Small real captures, and the lab that makes them."""

from __future__ import annotations
