"""Policies that this side writes: proposed, imported, described."""
