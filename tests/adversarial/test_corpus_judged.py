"""The corpus before the judge: what the archive's bytes do not show, evidence and documents do."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from loader.errors import RefusedError
from loader.judge import judge, judge_statement
from loader.policy.model import Policy
from loader.trust.store import TrustStore
from tests.adversarial.case import ACCEPT, Case
from tests.adversarial.corpus import corpus, write_policy
from tests.adversarial.reading import Blobs, read_all

NOW = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
CASES = [
    case
    for case in corpus()
    if case.level in {"graph", "judge", "deep"}
    or (case.level == "archive" and case.expect_class == ACCEPT)
]


def judged(data: bytes, policy: Policy, trust: TrustStore) -> str:
    """Return the class of the refusal, or `accept`."""
    try:
        read = read_all(data)
        statement = read.statement
        claims = judge_statement(statement, read.signatures, policy=policy, trust=trust, now=NOW)
        judge(statement, claims, Blobs(read), policy=policy, trust=trust, now=NOW)
    except RefusedError as e:
        return e.error_class
    return ACCEPT


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_the_judge_says_what_the_corpus_expects(case: Case, tmp_path: Path) -> None:
    path = write_policy(tmp_path)
    policy = Policy.parse(path.read_bytes(), where=str(path))
    trust = TrustStore.open(policy, policy_directory=tmp_path)
    bundle = tmp_path / "bundle"
    case.build(bundle)
    # Whoever does not unpack layers cannot see what is wrong in them: a runtime will.
    expected = ACCEPT if case.level == "deep" else case.expect_class
    assert judged(bundle.read_bytes(), policy, trust) == expected
