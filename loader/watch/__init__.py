"""The drop folder: what lies in it, what of it is taken, and how each attempt is bounded."""
