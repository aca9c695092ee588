"""Attacks on denials: what a policy writes to deny somebody, and denies nobody with."""

from __future__ import annotations

import pytest

from loader.errors import PolicyFileError
from loader.policy.model import Policy
from tests.unit.loader.policy.claiming import (
    BY_KEY,
    require,
)
from tests.unit.loader.policy.judging import NAME

SERVER = "https://github.com/"

WHOLE = f'schema = 1\n[[image]]\nmatch = "{NAME}"\n' + require("signature", who=BY_KEY)


@pytest.mark.parametrize("key", ["sha256:" + "A" * 64, "sha256:1234", "SHA256:" + "a" * 64])
def test_t36_a_fingerprint_that_no_key_has_denies_nobody(key: str) -> None:
    text = f'{WHOLE}\n[[deny]]\nkey = "{key}"\nreason = "stolen"\n'
    with pytest.raises(PolicyFileError, match="fingerprint"):
        Policy.parse(text.encode(), where="policy.toml")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('key = "relase"', "no anchor that a rule refers to"),
        ('identity = "https://github.com/acme/*"', "letter by letter"),
        (r"identity = 'https://github\.com/acme/.*'", "letter by letter"),
        ('key = "release"', ""),
        ('key = "release"\nimage = "registry.acme.example/acme/ap"', "no [[image]] block matches"),
        ('key = "release"\nimage = "registry.acme.example/*/app"', ""),
        (f'identity = "{SERVER}acme/app/.github/workflows/release.yml@refs/tags/v1.0.0"', ""),
    ],
)
def test_t36_a_denial_that_denies_nobody_is_said(line: str, said: str) -> None:
    text = f'{WHOLE}\n[[deny]]\n{line}\nreason = "stolen"\n'
    warnings = Policy.parse(text.encode(), where="policy.toml").warnings
    assert len(warnings) == bool(said)
    assert all(said in one for one in warnings)
