"""The offline side: reads one bundle, verifies everything in it, and only then hands images to a runtime.

The minimal trusted base. Nothing in here speaks a network protocol, and nothing in here imports `bundler`.
"""
