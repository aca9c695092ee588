"""Write down which third-party modules importing the loader brings with it.

The list, tests/architecture/third-party-modules.txt, decides dependencies: look at what changed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.architecture import tree  # noqa: E402 (after the path)

FOLDER = ROOT / "tests" / "architecture"


def main() -> int:
    """Import the loader in a fresh process, and keep the names."""
    ran = subprocess.run(
        [sys.executable, "-I", str(FOLDER / "closure_probe.py"), str(ROOT)],
        cwd="/",
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    names = sorted(tree.third_party(json.loads(ran.stdout)["loaded"]))
    (FOLDER / "third-party-modules.txt").write_text(
        "".join(f"{name}\n" for name in names), encoding="utf-8"
    )
    print(f"tests/architecture/third-party-modules.txt: {len(names)} names")
    return 0


if __name__ == "__main__":
    sys.exit(main())
