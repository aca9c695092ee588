"""What `verify-blob` found out, in words or as JSON; as in `report.py`, every line plain ASCII."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, assert_never

from loader.blob import BlobRequest, verify_blob
from loader.blob_options import named
from loader.errors import AirlockError, RefusedError, shown
from loader.model.fields import format_instant
from loader.policy.weigh import who_of
from loader.progress import sized
from loader.report import error_plain, plain
from loader.verify.facts import CertificateSigner, KeySigner

if TYPE_CHECKING:
    from argparse import Namespace

    from loader.blob import BlobVerdict
    from loader.model.strictjson import JsonObject, JsonValue
    from loader.places import Places
    from loader.verify.facts import LogProof, Signed

SCHEMA: Final = "airlock-blob/1"


def run_blob(
    arguments: Namespace, places: Places, *, how: tuple[str, ...]
) -> tuple[str, AirlockError | None]:
    """Judge what a command line asks for; return what to print, and why it was refused."""
    request = BlobRequest(file=arguments.file, bundle=arguments.bundle, who=named(arguments))
    name = shown(str(request.file))[1:-1]
    try:
        verdict = verify_blob(request, places)
    except AirlockError as e:
        return as_json(name, None, e, how=how) if arguments.json else "", e
    if arguments.json:
        return as_json(name, verdict, None, how=how), None
    return as_text(name, verdict), None


def as_text(name: str, verdict: BlobVerdict) -> str:
    """Return the verdict for people: who, when, and which log has it."""
    return "".join(f"{plain(line)}\n" for line in _lines(name, verdict))


def _lines(name: str, verdict: BlobVerdict) -> Iterator[str]:
    signed = verdict.signed
    said = f", a statement of the type {shown(signed.predicate_type)}" * bool(signed.predicate_type)
    yield f"{name}: {sized(verdict.size)}, {verdict.digest}"
    yield f"  signed by  {who_of(signed).words}"
    for time in signed.times:
        whose = "log" if time.source == "log" else "timestamp authority"
        yield f"  at         {format_instant(time.at)}, says the {whose} {shown(time.authority)}"
    if not signed.times:
        yield "  at         nobody says when"
    for log in signed.logs:
        place = "" if log.log_index is None else f", index {log.log_index}"
        yield f"  log        {shown(log.name)}{place}: {_standing(log)}"
    if not signed.logs:
        yield "  log        none that is trusted here"
    if signed.sct_count:
        yield f"  published  certificate known to transparency logs: {signed.sct_count}"
    yield f"VERIFIED: {signed.format}{said}"


def _standing(log: LogProof) -> str:
    said = [
        words
        for words, checked in (("promised", log.promise), ("proof of inclusion", log.proof))
        if checked == "verified"
    ]
    return " and ".join(said)


def as_json(
    name: str, verdict: BlobVerdict | None, error: AirlockError | None, *, how: tuple[str, ...]
) -> str:
    """Return the verdict for programs: schema `airlock-blob/1`."""
    judged = "accept" if error is None else "reject" if _is_refusal(error) else "error"
    document: JsonObject = {
        "schema": SCHEMA,
        "verdict": judged,
        "file": {
            "name": name,
            "digest": None if verdict is None else str(verdict.digest),
            "size": None if verdict is None else verdict.size,
        },
        "confinement": list(how),
        "signed": None if verdict is None else _signed(verdict.signed),
        **error_plain(error),
    }
    return json.dumps(document, sort_keys=True, indent=2, ensure_ascii=True) + "\n"


def _is_refusal(error: AirlockError) -> bool:
    return isinstance(error, RefusedError)


def _signed(signed: Signed) -> JsonObject:
    return {
        "format": signed.format,
        "evidence": str(signed.evidence_digest),
        "predicate_type": signed.predicate_type or None,
        "signer": _signer(signed),
        "times": [
            {"at": format_instant(t.at), "source": t.source, "authority": t.authority}
            for t in signed.times
        ],
        "logs": [
            {
                "log": log.log,
                "name": log.name,
                "log_index": log.log_index,
                "promise": log.promise,
                "proof": log.proof,
            }
            for log in signed.logs
        ],
        "sct_count": signed.sct_count,
    }


def _signer(signed: Signed) -> JsonValue:
    match signed.signer:
        case KeySigner(name=name, fingerprint=fingerprint):
            return {"kind": "key", "name": name, "fingerprint": fingerprint}
        case CertificateSigner() as signer:
            return {
                "kind": "certificate",
                "identity": signer.san,
                "identity_kind": signer.san_kind,
                "issuer": signer.issuer,
                "extensions": dict(sorted(signer.extensions.items())),
            }
        case _:
            assert_never(signed.signer)
