"""Pinned anchors and what is carried to chain to them."""
