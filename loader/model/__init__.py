"""Hostile bytes become value objects here, once; no I/O, no clock."""
