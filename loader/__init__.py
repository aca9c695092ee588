"""The offline side: reads one bundle, verifies all of it, and only then hands images to a runtime.

The minimal trusted base. Nothing in here speaks a network protocol, or imports `bundler`.
"""

from __future__ import annotations

from typing import Final

VERSION: Final = "0.1.0"
"""The version of both programs; the one in pyproject.toml, where a frozen program has none."""
