"""A signing world: certificate authority, CT log, transparency logs, timestamp authority, signers.

``world.World()`` builds all of it in one call; the other modules can be used one by one.
"""
