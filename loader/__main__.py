"""`python -m loader`, and the frozen program's beginning."""

from __future__ import annotations

import sys

from loader.cli import main

if __name__ == "__main__":
    sys.exit(main())
