"""Judging what is there before, or without, packing it: `verify` and the verbs around it."""
