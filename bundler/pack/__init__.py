"""Sealing a bundle: order, bytes, publication."""
