"""Analyses -> what people and programs read."""

from __future__ import annotations
