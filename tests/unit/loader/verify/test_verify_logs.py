"""Logs that lie: proofs, checkpoints and promises, each spoilt in every way we know."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Literal

import pytest

from loader.errors import RefusedError
from tests.fakes.sigworld.encoding import b64, unb64
from tests.fakes.sigworld.keys import Signer
from tests.fakes.sigworld.rekor import Entry
from tests.fakes.sigworld.world import World
from tests.unit.loader.verify.worlds import (
    IMAGE,
    bundle_of,
    code_of,
    keyless,
)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


Change = Callable[[dict[str, Any], Entry], None]


def _entry(bundle: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = bundle["verificationMaterial"]["tlogEntries"][0]
    return found


def _proof(change: Change, log: Literal["v1", "v2"] = "v2") -> Callable[[World], str]:
    def judge(world: World) -> str:
        act = world.sign_image(IMAGE, world.keyless(), log=log)
        grown = act.entries[0].log
        grown.grow(3)
        bundle = act.bundle()
        _entry(bundle)["inclusionProof"] = act.entries[0].inclusion_proof(grown.tree.size)
        change(_entry(bundle)["inclusionProof"], act.entries[0])
        return code_of(bundle_of(bundle), keyless(world))

    return judge


def _checkpoint(**options: Any) -> Callable[[dict[str, Any], Entry], None]:  # noqa: ANN401
    def change(proof: dict[str, Any], entry: Entry) -> None:
        proof["checkpoint"]["envelope"] = entry.log.checkpoint(**options)

    return change


def _set(**values: Any) -> Callable[[dict[str, Any], Entry], None]:  # noqa: ANN401
    return lambda proof, _: proof.update(values)


def _hashes(change: Callable[[list[str]], list[str]]) -> Change:
    def spoil(proof: dict[str, Any], _: Entry) -> None:
        assert len(proof["hashes"]) > 1
        proof["hashes"] = change(proof["hashes"])

    return spoil


def _flipped(text: str) -> str:
    raw = bytearray(unb64(text))
    raw[0] ^= 1
    return b64(bytes(raw))


def _note(old: str, new: str) -> Callable[[dict[str, Any], Entry], None]:
    def change(proof: dict[str, Any], _: Entry) -> None:
        note = proof["checkpoint"]["envelope"]
        assert old in note
        proof["checkpoint"]["envelope"] = note.replace(old, new, 1)

    return change


LIES = {
    "as it is": (lambda _p, _e: None, ""),
    "signed by another": (
        _checkpoint(signer=Signer.make("eve", "Ed25519")),
        "signature.checkpoint",
    ),
    "another origin, signed": (_checkpoint(origin="rekor2.eve.example"), "signature.checkpoint"),
    "another name": (_checkpoint(name="rekor2.eve.example"), "signature.checkpoint"),
    "another hint": (_checkpoint(hint=b"\x00\x00\x00\x00"), "signature.checkpoint"),
    "another root, signed": (_checkpoint(root_hash=b"\x01" * 32), "signature.checkpoint"),
    "another size, signed": (_checkpoint(size=2), "signature.checkpoint"),
    "an extension line, signed": (_checkpoint(extra=["Timestamp: 1"]), ""),
    "size of the proof": (_set(treeSize="99"), "signature.checkpoint"),
    "root of the proof": (_set(rootHash=b64(b"\x02" * 32)), "signature.checkpoint"),
    "no hashes": (_set(hashes=[]), "signature.inclusion"),
    "one hash flipped": (_hashes(lambda h: [_flipped(h[0]), *h[1:]]), "signature.inclusion"),
    "the first hash missing": (_hashes(lambda h: h[1:]), "signature.inclusion"),
    "the last hash missing": (_hashes(lambda h: h[:-1]), "signature.inclusion"),
    "one hash more": (_hashes(lambda h: [*h, b64(b"\x03" * 32)]), "signature.inclusion"),
    "one hash twice": (_hashes(lambda h: [h[0], *h]), "signature.inclusion"),
    "two hashes exchanged": (_hashes(lambda h: [h[1], h[0], *h[2:]]), "signature.inclusion"),
    "65 hashes": (_set(hashes=[b64(b"\x03" * 32)] * 65), "limit.exceeded"),
    "a short hash": (_set(hashes=[b64(b"\x03" * 31)]), "json.field"),
    "another leaf": (_set(logIndex="1"), "signature.inclusion"),
    "a leaf behind the end": (_set(logIndex="1000"), "signature.inclusion"),
    "a negative leaf": (_set(logIndex="-1"), "json.field"),
    "a leaf in exponents": (_set(logIndex="1e3"), "json.field"),
    "the leaf behind the last": (
        lambda proof, _: proof.update(logIndex=proof["treeSize"]),
        "signature.inclusion",
    ),
    "a negative size": (_set(treeSize="-1"), "json.field"),
    "a size in exponents": (_set(treeSize="1e3"), "json.field"),
    "no checkpoint": (_set(checkpoint=None), "signature.checkpoint"),
    "an empty tree": (_set(treeSize="0"), "signature.checkpoint"),
    "origin changed": (_note("rekor", "recor"), "signature.checkpoint"),
    "an extension line that nobody signed": (_note("=\n\n", "=\nmore\n\n"), "signature.checkpoint"),
    "no line end at the end": (
        lambda proof, _: proof["checkpoint"].update(
            envelope=proof["checkpoint"]["envelope"].removesuffix("\n")
        ),
        "json.field",
    ),
    "two line ends at the end": (
        lambda proof, _: proof["checkpoint"].update(
            envelope=proof["checkpoint"]["envelope"] + "\n"
        ),
        "json.field",
    ),
    "text behind the signatures": (
        lambda proof, _: proof["checkpoint"].update(
            envelope=proof["checkpoint"]["envelope"] + "more\n"
        ),
        "json.field",
    ),
    "no signature": (
        lambda proof, _: proof["checkpoint"].update(
            envelope=proof["checkpoint"]["envelope"].partition("\n\n")[0] + "\n\n"
        ),
        "json.field",
    ),
    "no blank line": (_note("\n\n", "\n"), "json.field"),
    "CRLF": (_note("\n", "\r\n"), "json.field"),
    "a size with a zero before it": (_note("\n", "\n0"), "json.field"),
    "an ASCII dash": (_note("\u2014", "-"), "json.field"),
    "an empty line in the text": (_note("=\n", "=\n\n"), "json.field"),
    "10,000 cosignatures": (
        lambda proof, _: proof["checkpoint"].update(
            envelope=proof["checkpoint"]["envelope"] + f"\u2014 w {b64(b'x' * 68)}\n" * 10_000
        ),
        "limit.exceeded",
    ),
    "101 cosignatures": (
        lambda proof, _: proof["checkpoint"].update(
            envelope=proof["checkpoint"]["envelope"] + f"\u2014 w {b64(b'x' * 68)}\n" * 100
        ),
        "limit.exceeded",
    ),
    "100 lines": (
        lambda proof, _: proof["checkpoint"].update(
            envelope=proof["checkpoint"]["envelope"] + f"\u2014 w {b64(b'x' * 68)}\n" * 99
        ),
        "",
    ),
}


def _found(lie: str, log: Literal["v1", "v2"]) -> str:
    try:
        return _proof(LIES[lie][0], log)(World())
    except RefusedError as e:
        return e.code


@pytest.mark.parametrize("lie", LIES)
def test_proofs(lie: str) -> None:
    """A060, A061."""
    assert _found(lie, "v2") == LIES[lie][1]


@pytest.mark.parametrize("lie", LIES)
def test_proofs_of_the_first_log(lie: str) -> None:
    """A060, A061."""
    assert _found(lie, "v1") == LIES[lie][1]


def test_the_same_hint_on_another_key() -> None:
    # A collision of four bytes: the other line is tried, fails, and the right one still counts.
    def change(proof: dict[str, Any], entry: Entry) -> None:
        note = proof["checkpoint"]["envelope"]
        text, line = note.split("\n\n")
        name, _, raw = line.removeprefix("\u2014 ").strip().partition(" ")
        false = raw[:8] + b64(b"\x00" * 64)[:-8] + raw[-8:]
        proof["checkpoint"]["envelope"] = f"{text}\n\n\u2014 {name} {false}\n{line}"
        assert entry.log.hint

    assert _proof(change)(World()) == ""


def test_a_forked_log() -> None:
    world = World()
    fork = world.rekor2.fork()
    act = world.sign_image(IMAGE, world.keyless(), log="v2")
    bundle = act.bundle()
    _entry(bundle)["inclusionProof"]["checkpoint"]["envelope"] = fork.checkpoint()
    assert code_of(bundle_of(bundle), keyless(world)) == "signature.checkpoint"


def test_promises(world: World) -> None:
    """A062."""
    act = world.sign_image(IMAGE, world.keyless())
    elsewhere = World("elsewhere")
    entry = act.entries[0]
    good = act.bundle()

    def judged(change: Callable[[dict[str, Any]], object]) -> str:
        bundle = copy.deepcopy(good)
        change(_entry(bundle))
        return code_of(bundle_of(bundle), keyless(world))

    assert judged(lambda _: None) == ""
    assert judged(lambda e: e.update(integratedTime=str(int(e["integratedTime"]) + 1))) == (
        "signature.set"
    )
    assert judged(lambda e: e.update(logIndex=str(int(e["logIndex"]) + 1))) == "signature.set"
    assert judged(lambda e: e.update(logIndex=str(2**63 - 1))) == "signature.set"
    with pytest.raises(RefusedError, match="no calendar"):
        judged(lambda e: e.update(integratedTime=str(2**62)))
    assert judged(lambda e: e.pop("integratedTime")) == "signature.set"
    assert judged(lambda e: e.pop("inclusionProof")) == "signature.entry.unproven"
    # Without the promise the time counts for nothing (CVE-2024-55655).
    assert judged(lambda e: e.pop("inclusionPromise")) == "signature.no-time"
    other = elsewhere.rekor1.add(entry.body, at=act.at).promise()
    assert other is not None
    assert (
        judged(lambda e: e.update(inclusionPromise={"signedEntryTimestamp": b64(other)}))
        == "signature.set"
    )


def test_a_promise_of_a_log_that_makes_none(world: World) -> None:
    act = world.sign_image(IMAGE, world.keyless(), log="v2")
    bundle = act.bundle()
    _entry(bundle).update(
        inclusionPromise={"signedEntryTimestamp": b64(b"x" * 64)},
        integratedTime=str(int(act.at.timestamp())),
    )
    assert code_of(bundle_of(bundle), keyless(world)) == "signature.set"


def test_an_integrated_time_of_a_log_that_has_none(world: World) -> None:
    bundle = world.sign_image(IMAGE, world.keyless(), log="v2", timestamp=False).bundle()
    _entry(bundle)["integratedTime"] = str(int(world.at.timestamp()) + 2)
    assert code_of(bundle_of(bundle), keyless(world)) == "signature.no-time"


def test_too_many_entries(world: World) -> None:
    act = world.sign_image(IMAGE, world.keyless())
    bundle = act.bundle()
    good = _entry(bundle)
    junk = [{**good, "logIndex": str(n)} for n in range(32)]
    bundle["verificationMaterial"]["tlogEntries"] = [*junk, good]
    with pytest.raises(RefusedError, match="too many items"):
        bundle_of(bundle)
