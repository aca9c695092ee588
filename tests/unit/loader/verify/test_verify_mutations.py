"""Every single change of a genuine bundle, and which of them change nothing.

Each field of a dozen bundles of all kinds is changed, removed, and exchanged for another's. A
mutant is refused; or it says less than the original (an entry or a timestamp is gone: policy sees
that, and asks for what it needs); or the change is on the list below, with the reason why it does
not matter. It never says more, nor anything else, and the list must not grow. (sigstore-go accepts
87 of 1,140 such mutants, sigstore-python 16: SIGSTORE §2.4.)
"""

from __future__ import annotations

import base64
import copy
import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from loader.errors import RefusedError
from loader.verify.sigstore import LogProof, Material, verify_evidence
from tests.fakes.sigworld import statements
from tests.fakes.sigworld.world import World
from tests.presence import SHARED
from tests.unit.loader.verify.test_conformance_suite import SUITE
from tests.unit.loader.verify.worlds import IMAGE, bundle_of, keyless, managed, root_of

UNSIGNED = {
    "hint": "a hint, not signed by anybody; the key comes from policy",
    "publicKey": "holds nothing but the hint",
    "keyid": "not signed by anybody, and never looked at",
    "mediaType": "0.2 and 0.3 demand the same of everything but the certificate",
    "chain": "intermediates are hints; the trusted root pins its own",
    "integratedTime": "without a promise nobody signed it, and it counts for nothing",
}
Bundle = dict[str, Any]


@cache
def world() -> World:
    return World("mutants")


def _subjects() -> dict[str, tuple[Bundle, Material]]:
    made = world()
    keys = [made.managed(f"key {number}") for number in range(3)]
    said = statements.statement(IMAGE, statements.SLSA_V1, statements.slsa_v1())
    by_certificate = keyless(made)
    found = {
        "key": (
            made.sign_image(IMAGE, keys[0], log="none").bundle(),
            managed(made, keys[0]),
        ),
        "key, v1": (
            made.sign_image(IMAGE, keys[1], log="v1").bundle(),
            managed(made, keys[1]),
        ),
        "key, v2": (
            made.sign_image(IMAGE, keys[2], log="v2").bundle(),
            managed(made, keys[2]),
        ),
        "v1": (made.sign_image(IMAGE, made.keyless()).bundle(), by_certificate),
        "v1, timestamp": (
            made.sign_image(IMAGE, made.keyless(), timestamp=True).bundle(),
            by_certificate,
        ),
        "v2": (made.sign_image(IMAGE, made.keyless(), log="v2").bundle(), by_certificate),
        "both": (made.sign_image(IMAGE, made.keyless(), log="both").bundle(), by_certificate),
        "no log": (made.sign_image(IMAGE, made.keyless(), log="none").bundle(), by_certificate),
        "message, v1": (
            made.sign_image_legacy(IMAGE, made.keyless()).bundle(),
            by_certificate,
        ),
        "message, v2": (
            made.sign_image_legacy(IMAGE, made.keyless(), log="v2").bundle(),
            by_certificate,
        ),
        "intoto, v0.1": (
            made.sign_statement(said, made.keyless(), entry="intoto-0.0.2").bundle(
                "0.1", chain=True
            ),
            by_certificate,
        ),
        "intoto, v0.2": (
            made.sign_statement(said, made.keyless(), entry="intoto-0.0.2").bundle("0.2"),
            by_certificate,
        ),
    }
    for name in ("happy-path-v0.1", "happy-path-intoto-in-dsse-v3", "rekor2-happy-path"):
        case = SUITE / name
        if case.is_dir():
            own = case / "trusted_root.json"
            root = own if own.exists() else SHARED / "real/trusted-roots/sigstore-production.json"
            found[name] = (
                json.loads((case / "bundle.sigstore.json").read_bytes()),
                Material(trusted_root=root_of(json.loads(root.read_bytes()))),
            )
    return found


SUBJECTS = _subjects()


def _paths(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if path:
        yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _paths(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _paths(item, (*path, index))


def _get(document: Bundle, path: tuple[str | int, ...]) -> Any:  # noqa: ANN401
    value: Any = document
    for step in path:
        value = value[step]
    return value


def _changes(value: object, other: object) -> Iterator[object]:
    """What to put in a field's place; `...` takes it away."""
    yield ...
    yield None
    if other is not None and other != value:
        yield other
    match value:
        case str() if re.fullmatch(r"[0-9]+", value):
            yield from (str(int(value) + 1), str(max(int(value) - 1, 0)), "0", str(2**62))
        case str() if re.fullmatch(r"[A-Za-z0-9+/]{8,}={0,2}", value):
            raw = base64.b64decode(value)
            for position in {0, len(raw) // 3, len(raw) // 2, len(raw) - 1}:
                flipped = raw[:position] + bytes([raw[position] ^ 1]) + raw[position + 1 :]
                yield base64.b64encode(flipped).decode()
            yield base64.b64encode(raw[:-1]).decode()
            yield base64.b64encode(raw + b"\x00").decode()
        case str():
            yield from ("", value + "x", value[:-1], value.swapcase())
        case list() if value:
            yield from ([], value[1:], value[:-1], [*value, value[0]], value[::-1])
        case dict():
            yield {}
        case _:
            pass


def _mutants(name: str) -> Iterator[tuple[tuple[str | int, ...], object, Bundle]]:
    bundle = SUBJECTS[name][0]
    for path in _paths(bundle):
        value = _get(bundle, path)
        others = [_or_none(SUBJECTS[other][0], path) for other in SUBJECTS if other != name]
        other = next((o for o in others if o is not None and o != value), None)
        for change in _changes(value, other):
            if change == value:
                continue
            mutant = copy.deepcopy(bundle)
            holder = _get(mutant, path[:-1])
            if change is ...:
                del holder[path[-1]]
            else:
                holder[path[-1]] = change
            yield path, change, mutant


def _or_none(document: Bundle, path: tuple[str | int, ...]) -> object:
    try:
        found: object = _get(document, path)
    except (KeyError, IndexError, TypeError):
        return None
    return found


def _unsigned(name: str, path: tuple[str | int, ...]) -> str:
    """Which line of the list a field belongs to."""
    if "x509CertificateChain" in path and path[-1] != 0 and path[3:4] != (0,):
        return "chain"
    if path[-1] == "integratedTime":
        entry = _get(SUBJECTS[name][0], path[:-1])
        return "" if "inclusionPromise" in entry else "integratedTime"
    return str(path[-1])


@pytest.mark.usefixtures("shared_dir")
@pytest.mark.parametrize("name", SUBJECTS)
def test_mutants(name: str) -> None:
    bundle, material = SUBJECTS[name]
    original = verify_evidence(bundle_of(bundle), material).value
    tried, accepted = 0, []
    for path, change, mutant in _mutants(name):
        tried += 1
        try:
            found = verify_evidence(bundle_of(mutant), material).value
        except RefusedError:
            continue
        assert (found.payload, found.signer) == (original.payload, original.signer), path
        assert set(found.times) <= set(original.times), path
        said = {_same(log) for log in original.logs} | {(log.log, None) for log in original.logs}
        assert {_same(log) for log in found.logs} <= said, path
        assert found.sct_count == original.sct_count
        says_less = (found.times, found.logs) != (original.times, original.logs)
        if not says_less and _unsigned(name, path) not in UNSIGNED:
            accepted.append((path, str(change)[:60]))
    assert tried > 60
    assert accepted == []


def _same(log: LogProof) -> tuple[str, int | None]:
    """A log's entry, whether by promise or by proof; without the promise nobody signs its index."""
    return log.log, log.log_index
