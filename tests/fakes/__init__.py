"""Small real things for tests: a signing world, images, a registry, and what ties them together.

Nothing here imports ``loader`` or ``bundler``: what encodes and what checks must not share a bug.
``README.md`` beside this file lists the public names with an example.
"""
