"""The corpus: every kind of hostile archive that CASES part 4 names, each with its verdict.

Whoever reads bundles can be run over it: `for case in corpus(): case.build(path)`, and then the
error's class must be `case.expect_class`, or nothing is refused where that is `accept`. With
`POLICY` and `KEY` (tests.adversarial.golden) every accepted case is acceptable to the whole loader,
if it holds what it needs to be judged at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.adversarial import cases_frames, cases_images, cases_records, cases_statement
from tests.adversarial.case import Case
from tests.adversarial.golden import KEY, POLICY


def corpus() -> Iterator[Case]:
    """Yield every case, once, in the same order each time."""
    yield from cases_records.cases()
    yield from cases_frames.cases()
    yield from cases_statement.cases()
    yield from cases_images.cases()


def write_policy(folder: Path) -> Path:
    """Write the policy that accepts the golden bundle, with its key beside it; return its path."""
    (folder / "release.pub").write_bytes(KEY.public_pem)
    path = folder / "policy.toml"
    path.write_text(POLICY)
    return path
