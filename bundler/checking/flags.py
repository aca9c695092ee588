"""cosign's flags, with cosign's meaning, as a policy of ours (DESIGN §11).

    --certificate-identity ... --type ...  →  policy text  →  the loader's own reader  →  FarSide

There is no second judge: the flags become one `[[image]]` block and are judged as a file would be.
What cosign means by them that a block does not by itself is written into it: an entry in a log is
wanted also for keys, signatures on the platforms of an image are none on the image, and names are
not compared. The one departure is that a pattern must match the whole text.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from bundler.checking.flag_options import IDENTITY, WORKFLOW, are_given, literal_type
from bundler.policies.toml_text import Value, lines
from bundler.preflight import FarSide
from loader.errors import ConditionError, PolicyError, PolicyFileError, UsageError, shown
from loader.policy.variables import VARIABLE, read_variables
from loader.trust.anchors import is_file

NAME: Final = "the command line"


def far_side_of(options: argparse.Namespace) -> FarSide:
    """Return what is judged by: a policy, or what the flags mean.

    Raises:
        UsageError: both, or neither; or as `far_side`.
    """
    variables = read_variables(options.var)
    if options.policy is None:
        if variables:
            raise UsageError("variables fill a policy, and there is none", where="--var")
        return far_side(options)
    if options.policy.suffix in {".cue", ".rego"}:
        raise UsageError(
            "no CUE or Rego here",
            where="--policy",
            expected="a policy of ours (docs/policy.md)",
            hint="conditions on what an attestation says are `predicate = { ... }` there",
        )
    if are_given(options):
        raise UsageError(
            "a policy says who must have signed; the flags are for verifying without one",
            where="--policy",
        )
    return FarSide.open(options.policy, variables)


def far_side(options: argparse.Namespace) -> FarSide:
    """Return what the flags mean.

    Raises:
        UsageError: they contradict one another, or name nobody.
        AnchorFileError, TrustRootError: key or trusted root cannot be read.
    """
    return read("\n".join(policy_lines(options)).encode(), options)


def read(
    raw: bytes, options: argparse.Namespace, *, names: Mapping[str, str] | None = None
) -> FarSide:
    """Read a policy that the command line wrote, and speak of flags where it is wrong.

    Args:
        raw: the policy.
        options: the command line.
        names: flags that are called otherwise than the key that they became.

    Raises:
        UsageError: the flags contradict one another, or cannot be meant.
        AnchorFileError, TrustRootError: key or trusted root cannot be read.
    """
    variable = VARIABLE.search(raw.decode())
    if variable is not None:
        # A flag means its text, letter by letter: what a script passes on must fill nothing in.
        raise UsageError(
            "a word in braces is a variable, and only a policy file has those",
            found=shown(variable[0]),
            hint="--policy FILE with --var NAME=VALUE",
        )
    try:
        return FarSide.read(raw, where=NAME, folder=Path())
    except PolicyFileError as e:
        key = e.where.rpartition(".")[2]
        name = (names or {}).get(key, key)
        flag = f"--{name}" if hasattr(options, name.replace("-", "_")) else ""
        raise UsageError(
            e.message,
            where=flag,
            expected=e.expected.replace("`certificate-", "`--certificate-"),
            found=e.found,
            hint=e.hint,
        ) from e


def advice(options: argparse.Namespace, error: PolicyError | None) -> str:
    """Return which flag may be meant where evidence is not recorded as they ask by default."""
    if isinstance(error, ConditionError) and options.key and not _without_log(options):
        return (
            "an entry in a transparency log is wanted, as by cosign; "
            "--insecure-ignore-tlog=true takes a signature without"
        )
    return ""


def speaker(options: argparse.Namespace) -> dict[str, Value]:
    """Return who is named, and how it must be recorded, by the keys of a requirement.

    Raises:
        UsageError: nobody is, or a flag cannot be meant.
    """
    return _said(options)


def policy_lines(options: argparse.Namespace) -> Iterator[str]:
    """Yield the policy that the flags write.

    Raises:
        UsageError: a flag that we do not have, or cannot mean the same by.
    """
    if not options.check_claims:
        raise UsageError(
            "a signature that is not compared with the image says nothing of it",
            where="--check-claims=false",
        )
    yield "schema = 1"
    yield "[[image]]"
    yield from lines({"match": "**", "name": "as-packed", "scope": "index"})
    yield "[[image.require]]"
    yield from lines({**_claim(options), **_said(options), **_signed_along(options)})


def _claim(options: argparse.Namespace) -> dict[str, Value]:
    if options.type is None:
        return {"claim": "signature"}
    if options.annotations:
        raise UsageError("annotations are signed along with signatures alone", where="-a")
    return {"claim": "attestation", "type": literal_type(options.type)}


def _signed_along(options: argparse.Namespace) -> dict[str, Value]:
    pairs = [text.partition("=") for text in options.annotations]
    for name, equals, _ in pairs:
        if not name or not equals:
            raise UsageError("not an annotation", where="-a", expected="NAME=TEXT")
    return {"annotations": {name: text for name, _, text in pairs}} if pairs else {}


def _said(options: argparse.Namespace) -> dict[str, Value]:
    """Return who must have signed, and how it must be recorded, by the keys of a requirement."""
    if not are_given(options):
        raise UsageError(
            "nobody is named who must have signed it",
            expected="--certificate-identity with --certificate-oidc-issuer, or --key, "
            "or --policy FILE",
            hint="`airlock policy init IMAGE` shows who signed an image",
        )
    found: dict[str, Value] = {}
    workflow = [f"certificate-github-workflow-{name}" for name in WORKFLOW]
    for name in (*(one for one, *_ in IDENTITY), *workflow):
        said: str | None = getattr(options, name.replace("-", "_"))
        if said is not None:
            found[name] = said
    without_log = _without_log(options)
    timestamps = 1 if options.use_signed_timestamps else 0
    if options.key is not None:
        found["key"] = file_or_name("key", options.key)
        if not without_log or timestamps:
            found["trusted-root"] = root_of(options)
    else:
        found["trusted-root"] = root_of(options)
        found["sct"] = 0 if options.insecure_ignore_sct else 1
    found["log"] = "none" if without_log else "promise"
    found["timestamps"] = timestamps
    return found


def _without_log(options: argparse.Namespace) -> bool:
    return bool(options.insecure_ignore_tlog or options.private_infrastructure)


def root_of(options: argparse.Namespace) -> str:
    """Return the trusted root that is judged by."""
    return file_or_name("trusted-root", options.trusted_root or "sigstore")


def file_or_name(flag: str, text: str) -> str:
    """Return an anchor's name, or a file by its full path: no policy takes that for a name."""
    scheme, colon, _ = text.partition("://")
    if colon:
        raise UsageError(
            "a key is read from a file",
            where=f"--{flag}",
            found=shown(text),
            hint=f"write the public key of {scheme} to a file first: cosign public-key --key ...",
        )
    path = Path(text)
    return str(path.absolute()) if path.is_file() or is_file(text) else text
