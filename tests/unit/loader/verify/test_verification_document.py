"""docs/verification.md and the code number the same steps, and name codes that exist."""

from __future__ import annotations

import re

from loader import errors
from tests.presence import ROOT

DOCUMENT = (ROOT / "docs" / "verification.md").read_text(encoding="utf-8")
CODE = "\n".join(
    path.read_text(encoding="utf-8") for path in sorted((ROOT / "loader" / "verify").glob("*.py"))
)
NUMBER = re.compile(r"\(([1-8](?:\.[0-9])?)\)")
# Steps that are a module of their own say their number in its docstring or at the call.
HEADINGS = {"3", "4", "6", "7"}


def test_the_same_steps() -> None:
    table = [line for line in DOCUMENT.splitlines() if line.startswith("| (")]
    documented = [match[1] for line in table if (match := NUMBER.search(line))]
    assert documented == sorted(set(documented), key=lambda n: [int(p) for p in n.split(".")])
    comments = "\n".join(
        line.partition("#")[2] for line in CODE.splitlines() if "#" in line
    ) + "\n".join(re.findall(r'^"""(.*?)"""', CODE, flags=re.DOTALL | re.MULTILINE))
    coded = set(NUMBER.findall(comments)) | set(re.findall(r"\(step ([1-8])\)", comments))
    assert coded == set(documented) | HEADINGS


def test_the_codes_exist() -> None:
    known = {
        kind.code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.AirlockError)
    }
    named = set(re.findall(r"`((?:signature|limit|container|json)\.[a-z.-]+)`", DOCUMENT))
    assert named <= known
    raised = {
        kind.code
        for name, kind in vars(errors).items()
        if isinstance(kind, type)
        and issubclass(kind, errors.VerificationError)
        and re.search(rf"\b{name}\(", CODE)
    }
    # A statement about another file; and what compares two checkpoints, which is no step here.
    assert raised - named == {"signature.subject", "signature.consistency"}
