"""Sigstore's ClusterImagePolicy (policy-controller, v1alpha1 and v1beta1) as a policy of ours.

    image globs            → one [[image]] each
    authorities            → any one of them: the speakers of one requirement
    attestations           → a requirement for each type

What cannot be said here is never left out in silence. Where leaving it out would accept more, a
requirement that nobody can meet stands in its place, until a person has decided; where it only
accepts less, a note says so. So what comes out accepts nothing that the original refuses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from bundler.checking.flag_options import TYPES
from bundler.policies.toml_text import Value, comment, lines
from loader.errors import UsageError, shown

_KIND: Final = "ClusterImagePolicy"
_GROUP: Final = "policy.sigstore.dev/"
_PUBLIC_FULCIO: Final = "https://fulcio.sigstore.dev"
_PUBLIC_REKOR: Final = "https://rekor.sigstore.dev"
_NAME: Final = re.compile(r"[^a-z0-9]+")


@dataclass(slots=True)
class Translation:
    """A policy as text, the keys that it refers to, and what there is to say about it."""

    text: str = ""
    keys: dict[str, str] = field(default_factory=dict)
    """PEM of public keys by the file's name, relative to the policy."""
    notes: list[str] = field(default_factory=list)
    """What is stricter here, or wants something from a person."""
    untranslated: list[str] = field(default_factory=list)
    """What stands as a requirement that nobody can meet."""


class Node:
    """A mapping of a document, with the path that leads to it; keys that nobody asks for show."""

    def __init__(self, value: object, path: str) -> None:
        if not isinstance(value, dict):
            raise UsageError("not a mapping", where=path, found=shown(value, limit=60))
        self._items: Mapping[str, object] = value
        self._asked: set[str] = set()
        self._inside: list[Node] = []
        self.path = path

    def text(self, name: str) -> str:
        """Return a string; empty where there is none."""
        self._asked.add(name)
        value = self._items.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise UsageError(
                "not a string", where=f"{self.path}.{name}", found=shown(value, limit=60)
            )
        return value

    def truth(self, name: str) -> bool:
        """Return a boolean; false where there is none."""
        self._asked.add(name)
        return self._items.get(name) is True

    def node(self, name: str) -> Node | None:
        """Return a mapping, or None."""
        self._asked.add(name)
        value = self._items.get(name)
        if value is None:
            return None
        self._inside.append(Node(value, f"{self.path}.{name}"))
        return self._inside[-1]

    def each(self, name: str) -> Iterator[Node]:
        """Yield the mappings of a list."""
        self._asked.add(name)
        value = self._items.get(name)
        if value is None:
            return
        if not isinstance(value, list):
            raise UsageError(
                "not a list", where=f"{self.path}.{name}", found=shown(value, limit=60)
            )
        for position, item in enumerate(value):
            self._inside.append(Node(item, f"{self.path}.{name}[{position}]"))
            yield self._inside[-1]

    def passed_over(self, *names: str) -> bool:
        """Tell whether one of these keys is there; what stands in them is of no interest."""
        self._asked.update(names)
        return any(self._items.get(name) is not None for name in names)

    def unasked(self) -> Iterator[str]:
        """Yield the paths of keys, here and inside, that nobody asked for."""
        for name in self._items:
            if name not in self._asked:
                yield f"{self.path}.{name}"
        for one in self._inside:
            yield from one.unasked()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Authority:
    """One authority: who, of what, and what of it cannot be said."""

    name: str
    speakers: tuple[dict[str, Value], ...]
    types: tuple[str, ...]
    """Predicate types that must be attested; empty where a signature is asked for."""
    blocked: tuple[str, ...]


def translate(documents: Sequence[object], *, where: str) -> Translation:
    """Return what these documents say, as one policy.

    Raises:
        UsageError: none of them is a ClusterImagePolicy, or one is not what it should be.
    """
    found = Translation()
    parts = ["schema = 1"]
    for document in documents:
        node = Node(document, where)
        kind, name = node.text("kind"), _metadata_name(node)
        if kind != _KIND or not node.text("apiVersion").startswith(_GROUP):
            found.notes.append(f"{kind or 'a document without a kind'} {name}: left out")
            continue
        parts += ["", *_policy(node, name, found)]
    if len(parts) == 1:
        raise UsageError(f"there is no {_KIND} in it", where=where)
    found.text = "\n".join(parts) + "\n"
    return found


def _metadata_name(node: Node) -> str:
    metadata = node.node("metadata")
    return "" if metadata is None else metadata.text("name")


def _policy(node: Node, name: str, found: Translation) -> Iterator[str]:
    spec = node.node("spec")
    if spec is None:
        raise UsageError("a policy without spec", where=node.path)
    authorities = [
        _authority(one, number, found) for number, one in enumerate(spec.each("authorities"))
    ]
    globs = list(_globs(spec, name, found))
    requirements = list(_requirements(spec, authorities))
    if spec.text("mode") == "warn":
        found.notes.append(f"{name}: mode warn only warned; here it refuses")
    if spec.passed_over("policy"):
        requirements.append(_blocked(["spec.policy: no CUE or Rego here"]))
    if spec.passed_over("match"):
        found.notes.append(f"{name}: spec.match chose Kubernetes resources; here it always applies")
    unknown = list(spec.unasked())
    if unknown:
        requirements.append(_blocked([f"{path}: not known" for path in unknown]))
    for requirement in requirements:
        found.untranslated += [f"{name}: {reason}" for reason in requirement[1]]
    for glob in globs:
        yield comment(f"{_KIND} {name}")
        yield "[[image]]"
        yield from lines({"match": glob, "name": "as-packed"})
        for table, reasons in requirements:
            yield ""
            yield from (comment(f"NOT TRANSLATED: {reason}") for reason in reasons)
            yield "[[image.require]]"
            yield from lines(table)


def _globs(spec: Node, name: str, found: Translation) -> Iterator[str]:
    there = False
    for image in spec.each("images"):
        there = True
        glob = image.text("glob")
        full = {"*": "docker.io/library/*", "*/*": "docker.io/*/*"}.get(glob, glob)
        full = re.sub(r"^index\.docker\.io/", "docker.io/", full)
        bare, at, _ = full.partition("@")
        bare, tag = _without_tag(bare)
        if at or tag.strip("*"):
            found.notes.append(
                f"{name}: {glob}: a rule here is for a repository; it holds for all its tags"
            )
        full = bare
        yield full
    if not there:
        raise UsageError("a policy without images", where=spec.path)


def _without_tag(glob: str) -> tuple[str, str]:
    head, slash, last = glob.rpartition("/")
    bare, _, tag = last.partition(":")
    return (head + slash + bare, tag) if slash else (glob, "")


def _requirements(
    spec: Node, authorities: Sequence[_Authority]
) -> Iterator[tuple[dict[str, Value], list[str]]]:
    """Yield requirements, each with why it cannot be met, if it cannot."""
    blocked = [reason for one in authorities for reason in one.blocked]
    usable = [one for one in authorities if not one.blocked]
    plain = [one for one in usable if not one.types]
    attesting = [one for one in usable if one.types]
    if not authorities:
        yield _blocked([f"{spec.path}: no authority"])
    elif not usable:
        yield _blocked(blocked)
    elif plain:
        # Any authority would do. Without those that also want attestations less is accepted.
        dropped = [
            f"authority {one.name}: as one of several, with attestations" for one in attesting
        ]
        yield _claim("signature", plain), [*blocked, *dropped]
    elif len(attesting) > 1 and max(len(one.types) for one in attesting) > 1:
        # There one authority must attest all of it; here each requirement would take any of them.
        yield _blocked(["several authorities that each attest several types"])
    elif len({one.types for one in attesting}) == 1:
        for kind in attesting[0].types:
            yield {**_claim("attestation", attesting), "type": kind}, blocked
    else:
        yield _blocked(["authorities that each want other attestations"])


def _claim(claim: str, authorities: Sequence[_Authority]) -> dict[str, Value]:
    speakers = [speaker for one in authorities for speaker in one.speakers]
    if len(speakers) == 1:
        return {"claim": claim, **speakers[0]}
    return {"claim": claim, "any": speakers}


def _blocked(reasons: list[str]) -> tuple[dict[str, Value], list[str]]:
    """Return a requirement that nobody can meet: no certificate names such an identity."""
    table: dict[str, Value] = {
        "claim": "signature",
        "trusted-root": "sigstore",
        "certificate-identity": "nobody: not translated, see above",
        "certificate-oidc-issuer": "nobody: not translated, see above",
    }
    return table, reasons


def _authority(node: Node, number: int, found: Translation) -> _Authority:
    name = node.text("name") or f"authority-{number}"
    blocked: list[str] = []
    how = _how(node, name, found)
    key, keyless = node.node("key"), node.node("keyless")
    speakers: list[dict[str, Value]] = []
    if node.passed_over("static"):
        blocked.append(f"authority {name}: static: nobody signs anything")
    elif key is not None:
        speakers.append({"key": _key(key, name, found), **how})
    elif keyless is not None:
        speakers += _keyless(keyless, name, how, found, blocked)
    else:
        blocked.append(f"authority {name}: neither key nor keyless")
    types = tuple(kind for one in node.each("attestations") if (kind := _type(one, name, blocked)))
    if node.passed_over("source"):
        found.notes.append(
            f"authority {name}: source: evidence is looked for beside the image; "
            "copy there what is kept elsewhere"
        )
    node.passed_over("signatureFormat")  # all formats are looked at
    return _Authority(name=name, speakers=tuple(speakers), types=types, blocked=tuple(blocked))


def _how(node: Node, name: str, found: Translation) -> dict[str, Value]:
    """Return how evidence must be recorded."""
    how: dict[str, Value] = {"trusted-root": "sigstore", "log": "promise"}
    log = node.node("ctlog")
    if log is not None:
        url, root = log.text("url"), log.text("trustRootRef")
        if root:
            how["trusted-root"] = _root(root, name, found)
        elif not url:
            how["log"] = "none"
        elif url.rstrip("/") != _PUBLIC_REKOR:
            how["trusted-root"] = _root(f"{name}-log", name, found)
    timestamp = node.node("rfc3161timestamp")
    if timestamp is not None:
        how["timestamps"] = 1
        if timestamp.text("trustRootRef"):
            how["trusted-root"] = _root(timestamp.text("trustRootRef"), name, found)
    elif how["log"] == "none" and node.passed_over("key"):
        del how["trusted-root"]
    return how


def _root(root: str, name: str, found: Translation) -> str:
    anchor = _NAME.sub("-", root.lower()).strip("-")
    found.notes.append(
        f"authority {name}: put the trusted root of {root} to anchors/{anchor}/trusted_root.json"
    )
    return anchor


def _key(key: Node, name: str, found: Translation) -> str:
    path = f"keys/{_NAME.sub('-', name.lower()).strip('-')}.pub"
    data, kms = key.text("data"), key.text("kms")
    key.passed_over("secretRef")
    if key.text("hashAlgorithm") not in {"", "sha256"}:
        found.notes.append(f"authority {name}: hashAlgorithm: the signature's own is taken")
    if data:
        found.keys[path] = data if data.endswith("\n") else f"{data}\n"
    elif kms:
        found.notes.append(f"authority {name}: cosign public-key --key {kms} > {path}")
    else:
        found.notes.append(f"authority {name}: put the public key of the secret to {path}")
    return path


def _keyless(
    keyless: Node, name: str, how: dict[str, Value], found: Translation, blocked: list[str]
) -> Iterator[dict[str, Value]]:
    url, root = keyless.text("url"), keyless.text("trustRootRef")
    if root:
        how = {**how, "trusted-root": _root(root, name, found)}
    elif keyless.passed_over("ca-cert"):
        how = {**how, "trusted-root": _root(f"{name}-ca", name, found)}
    elif url and url.rstrip("/") != _PUBLIC_FULCIO:
        how = {**how, "trusted-root": _root(f"{name}-fulcio", name, found)}
    if keyless.truth("insecureIgnoreSCT"):
        how = {**how, "sct": 0}
    there = False
    for identity in keyless.each("identities"):
        there = True
        said: dict[str, Value] = {}
        for word, exact in (("identity", "subject"), ("oidc-issuer", "issuer")):
            text, pattern = identity.text(exact), identity.text(f"{exact}RegExp")
            if text:
                said[f"certificate-{word}"] = text
            elif pattern:
                said[f"certificate-{word}-regexp"] = _whole(pattern, name, found)
            else:
                blocked.append(f"{identity.path}: any {exact} would do")
        yield {**said, **how}
    if not there:
        blocked.append(f"authority {name}: keyless without identities: anybody could sign")


def _whole(pattern: str, name: str, found: Translation) -> str:
    """Return a pattern that matches the whole of what this one matches a part of."""
    inner = f"(?:{pattern})" if "|" in pattern else pattern
    if "|" not in pattern:
        inner = inner.removeprefix("^")
        ended = inner.endswith("$") and not inner.endswith(r"\$")
        inner = inner.removesuffix("$") if ended else inner
    else:
        ended = False
    begun = pattern.startswith(("^", "http")) and "|" not in pattern
    whole = ("" if begun else ".*") + inner + ("" if ended or inner.endswith(".*") else ".*")
    if whole != pattern.removeprefix("^").removesuffix("$"):
        found.notes.append(f"authority {name}: {pattern} matched a part; here it is {whole}")
    return whole


def _type(attestation: Node, name: str, blocked: list[str]) -> str:
    kind, called = attestation.text("predicateType"), attestation.text("name")
    literal = TYPES.get(kind, kind)
    if not kind:
        blocked.append(f"authority {name}, attestation {called}: no predicateType")
    policy = attestation.node("policy")
    if policy is not None:
        said = re.sub(r"\s", "", policy.text("data"))
        # The examples compare the predicate type with itself: that is what `type` does.
        policy.passed_over("remote", "configMapRef", "fetchConfigFile")
        if policy.text("type") != "cue" or said != f'predicateType:"{literal}"':
            blocked.append(
                f"authority {name}, attestation {called}: no CUE or Rego here; "
                "write its conditions as `predicate = { ... }`"
            )
    return literal
