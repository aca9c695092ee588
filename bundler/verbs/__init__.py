"""What `airlock` can do, a module for each verb: `HELP`, `declare(parser)`, `run(call)`.

All are imported at each start, so what only a run needs is imported by `run`.
"""
