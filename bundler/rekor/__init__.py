"""Transparency logs, asked over HTTP: the proof behind a promise."""
