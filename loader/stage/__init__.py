"""Quarantine: verified bytes wait here, on the host's own disk."""
