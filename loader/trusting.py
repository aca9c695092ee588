"""What this host trusts: shown, pinned, and taken from a bundle or a folder by an operator.

    show     the anchors of the policy, what was remembered since, who may sign, how old
    import   trust material alone, judged as a load judges it, and remembered: one record
    add      a file pinned under a name, in the host's own anchors folder

An import loads nothing and judges no image. It is the way in for a root that policy wants confirmed
(`root-change = "confirm"`), and for a host that needs new trust before the bundle that is signed by
it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, assert_never

from loader.archive.metadata import MetadataStore
from loader.archive.reader import ArchiveReader
from loader.carried import Carried
from loader.digest import Digest
from loader.errors import (
    AirlockError,
    AnchorFileError,
    RefusedError,
    TrustIncompleteError,
    TrustRootMismatchError,
    UsageError,
    shown,
)
from loader.limits import DEFAULT_LIMITS
from loader.model.bundle import BundleStatement
from loader.model.notary_roles import ROOT
from loader.places import local_error, read_small_file, sync_folder, write_durably
from loader.renewal import Renewal, known_root, remembered, renew
from loader.source import BundleFile
from loader.state.ledger import Ledger, look
from loader.state.lock import StateFolder
from loader.state.record import Attempt, Failure, Outcome
from loader.trust.anchors import KEY_ENDINGS, is_file, label_of
from loader.trust.freshness import Reckoned
from loader.trust.keys import PublicKey
from loader.trust.memory import HeadSeen, ListsSeen, RootsSeen, TrustMemory
from loader.trust.notary_pins import NotaryPins
from loader.trust.root_words import who_vouches
from loader.trust.trusted_root import TrustedRoot
from loader.trust.tuf_pin import TufPin
from loader.trust.tuf_words import DelegatorWords
from loader.trust_folder import TrustFolder
from loader.verify.notary.words import root_words

if TYPE_CHECKING:
    from datetime import datetime

    from loader.model.bundle import BlobSource, TrustEntry
    from loader.run import Host
    from loader.trust.root_change import RootChange
    from loader.trust.store import Anchor, AnchorValue

SCRATCH: Final = Path("/var/tmp")  # noqa: S108 - for a nameless file that nobody else can open


# --- import ---------------------------------------------------------------------------------------


def import_trust(
    source: Path,
    host: Host,
    *,
    anchor: str | None,
    confirm: Callable[[tuple[RootChange, ...]], None],
) -> tuple[tuple[RootChange, ...], tuple[str, ...]]:
    """Take the trust material of a bundle, or of a folder, and remember it.

    Args:
        source: a bundle, or a folder with the files of one repository.
        host: this host.
        anchor: whose the folder is.
        confirm: is shown what would be taken, and raises where the operator does not want it.

    Returns:
        What was taken, and warnings.

    Raises:
        RefusedError: it does not chain, does not hold, is older or stale; nothing changed.
        UsageError: nothing to take, or nobody said whose it is.
        LocalError: it cannot be read, or the memory cannot be written.
    """
    with (
        StateFolder.lock(host.places, verb="trust-import", at=host.now) as folder,
        Ledger.open(folder, at=host.now, loader=host.version, signer=host.signer) as ledger,
    ):
        try:
            renewal, carried = _material(source, host, ledger.trust, anchor=anchor)
            _expect_fresh(renewal, carried, host, ledger.floors.time)
            learned = renewal.learned.and_more(carried.learned)
            confirm(learned.changes)
        except BaseException as e:
            outcome: Outcome = "refused" if isinstance(e, RefusedError) else "failed"
            ledger.append(_attempt(source, host, outcome, e))
            raise
        floors = ledger.floors.raised(
            time=renewal.signed_at, channel=None, names={}, logs={}, trust=learned.seen
        )
        warnings = ledger.append(
            _attempt(source, host, "done", None, changes=learned.changes),
            floors=floors,
            trust_files=learned.files,
        )
    return learned.changes, warnings


def _attempt(
    source: Path,
    host: Host,
    outcome: Outcome,
    error: BaseException | None,
    *,
    changes: tuple[RootChange, ...] = (),
) -> Attempt:
    failure = None
    if isinstance(error, AirlockError):
        failure = Failure(code=error.code, message=error.message, where=error.where)
    elif error is not None:
        failure = Failure(code="internal.bug", message=type(error).__name__)
    return Attempt(
        verb="trust-import",
        outcome=outcome,
        at=host.now,
        loader=host.version,
        archive=shown(str(source))[1:-1],
        policy=host.policy.digest,
        anchors=tuple((anchor.name, anchor.file_digest) for anchor in host.trust.anchors),
        trust=tuple(change.kept() for change in changes if change.moved),
        failure=failure,
    )


def _material(
    source: Path, host: Host, memory: TrustMemory, *, anchor: str | None
) -> tuple[Renewal, Carried]:
    if source.is_dir():
        if anchor is None:
            raise UsageError(
                "a folder does not say whose it is", expected="--anchor NAME", where=shown(source)
            )
        folder = TrustFolder(source)
        return _judged(folder.entries(anchor), folder, host, memory, source=source, anchor=anchor)
    with BundleFile.open(source) as file, MetadataStore(SCRATCH, limits=host.limits) as blobs:
        reader = ArchiveReader(file, limits=host.limits)
        sealed = reader.read_statement()
        statement = BundleStatement.parse(sealed.raw, limits=host.limits)
        reader.read_metadata(statement, blobs)
        entries = tuple(
            entry for entry in statement.trust if anchor is None or entry.anchor == label_of(anchor)
        )
        return _judged(entries, blobs, host, memory, source=source, anchor=anchor)


def _judged(
    entries: tuple[TrustEntry, ...],
    blobs: BlobSource,
    host: Host,
    memory: TrustMemory,
    *,
    source: Path,
    anchor: str | None,
) -> tuple[Renewal, Carried]:
    """Judge all of it for whichever anchors pin it: TUF repositories, and Notary ones."""
    renewal = renew(remembered(host.trust, memory), entries, blobs, memory, limits=host.limits)
    carried = Carried(entries, blobs, renewal.trust, memory=memory, limits=host.limits)
    for entry in entries:
        for one in host.trust.anchors:
            is_its = isinstance(one.value, NotaryPins) and label_of(one.name) == entry.anchor
            if entry.kind == "notary" and is_its:
                carried.content_trust(one.name, entry.repository)
    if not renewal.renewed and not carried.repositories:
        raise TrustIncompleteError(
            "nothing that any anchor of the policy could take",
            where=shown(source)[1:-1],
            expected="a repository of "
            + (anchor or "an anchor with a TUF root, or with pins of Notary roots"),
            found=", ".join(f"{entry.kind} {entry.anchor}" for entry in entries) or "none",
        )
    return carried.settled(renewal), carried


def _expect_fresh(renewal: Renewal, carried: Carried, host: Host, floor: datetime | None) -> None:
    """Refuse what would make an anchor stale at once: what is there now may be better.

    Raises:
        TrustRootStaleError, TrustRootExpiredError: policy does not take it any more.
    """
    time = Reckoned(clock=host.now, floor=floor, evidence=renewal.signed_at)
    brought = {*renewal.repositories, *(anchor for anchor, _ in carried.repositories)}
    for age in renewal.trust.ages(host.policy.anchor_rules, time):
        if age.name in brought and age.problem is not None:
            raise age.problem


# --- show -----------------------------------------------------------------------------------------


def show(host: Host, *, names: Collection[str] = ()) -> Iterator[str]:
    """Yield what is pinned, what was remembered since, how old it is, and who may sign.

    Raises:
        UsageError: an anchor that the policy does not refer to.
        TrustRootError, StateError: pin and memory do not fit, or either cannot be understood.
    """
    seen = look(host.places)
    trust = remembered(host.trust, seen.trust)
    unknown = sorted(set(names) - {anchor.name for anchor in trust.anchors})
    if unknown:
        raise UsageError("the policy refers to no such anchor", found=shown(unknown[0]))
    time = Reckoned(clock=host.now, floor=seen.floors.time)
    ages = trust.ages(host.policy.anchor_rules, time)
    shown_already: set[str] = set()
    for anchor, age in zip(trust.anchors, ages, strict=True):
        if names and anchor.name not in names:
            continue
        if isinstance(anchor.value, TufPin) and anchor.name in shown_already:
            continue  # its root was shown with what it brings
        yield f"{anchor.name}: {anchor.kind}, {anchor.origin}"
        yield f"  sha256 {anchor.fingerprint}"
        yield f"  {age.words}" + (f"; {age.holds}" if age.holds != "undated" else "")
        if anchor.tuf is not None and anchor.name not in shown_already:
            shown_already.add(anchor.name)
            yield from _show_tuf(anchor, anchor.tuf, seen.trust)
        yield from _show_value(anchor.value)
    if not names:
        yield from _show_memory(seen.trust)
    if seen.note:
        yield f"note: {seen.note}"


def _show_value(value: AnchorValue) -> Iterator[str]:
    match value:
        case PublicKey(algorithm=algorithm):
            yield f"  who may sign: whoever holds this key, {algorithm}"
        case TrustedRoot():
            yield "  who vouches for identities and times:"
            yield from (f"    {line}" for line in who_vouches(value))
        case NotaryPins():
            yield from (f"  pinned: {line}" for line in value.lines())
        case TufPin():
            pass  # its root was shown
        case _:
            assert_never(value)


def _show_memory(memory: TrustMemory) -> Iterator[str]:
    for (kind, name), seen in sorted(memory.seen.items(), key=lambda item: item[0]):
        match seen:
            case HeadSeen():
                yield f"log {name}: {seen.size} entries seen"
            case ListsSeen():
                yield f"deny lists: {len(seen.files)} signed ones, applied to every bundle"
            case RootsSeen() if kind == "notary":
                yield f"notary {name}: roots {min(seen.roots)} to {seen.newest} seen"
                yield from _roles(seen)
                root = memory.files.get(seen.files[ROOT]) if ROOT in seen.files else None
                if root is not None:
                    yield "  who may sign:"
                    yield from (f"    {line}" for line in root_words(root))
            case _:
                pass  # a TUF root is shown with its anchor


def _roles(seen: RootsSeen) -> Iterator[str]:
    for name, role in seen.roles.items():
        until = "" if role.expires is None else f", until {role.expires:%Y-%m-%d}"
        yield f"    {name} {role.version}{until}"


def _show_tuf(anchor: Anchor, pin: TufPin, memory: TrustMemory) -> Iterator[str]:
    seen = memory.roots("tuf", anchor.name)
    yield f"  pinned: TUF root {pin.version()}, sha256 {pin.digest.hex}, {pin.origin}"
    if seen is None:
        yield "  remembered: nothing; no bundle brought its repository yet"
    else:
        yield f"  remembered: roots {min(seen.roots)} to {seen.newest}"
        yield from _roles(seen)
    yield "  who may sign:"
    words = DelegatorWords.parse(known_root(pin, memory, anchor.name), name=anchor.name)
    yield from (f"    {line}" for line in words.lines())


# --- add ------------------------------------------------------------------------------------------


def pin_file(anchors: Path, name: str, source: Path) -> tuple[Path, str]:
    """Pin a file under a name, in a folder of its own among the host's anchors.

    Returns:
        Where it lies now, and its fingerprint, which two people should compare.

    Raises:
        UsageError: not a name, or not an anchor's file.
        TrustRootMismatchError: another file is pinned under this name.
        LocalError: it cannot be read or written.
    """
    from loader.policy.reading_anchors import expect_anchor_name  # noqa: PLC0415

    if is_file(name):
        raise UsageError("not the name of an anchor", found=shown(name))
    expect_anchor_name(name, where="NAME", endings=())
    raw = read_small_file(source, size_max=DEFAULT_LIMITS.trusted_root_size_max, what="the file")
    file, fingerprint = _recognized(raw, source)
    folder = anchors / name
    there = sorted(folder.iterdir()) if folder.is_dir() else []
    target = folder / file
    for path in there:
        same = path.suffix == target.suffix and path.name in {file, target.name}
        if same and path.read_bytes() != raw:
            raise TrustRootMismatchError(
                "another file is pinned under this name",
                where=str(path),
                expected=fingerprint,
                found=str(Digest.of(path.read_bytes())),
                hint="take it away yourself, or give the new one another name",
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / f".{file}.new"
        write_durably(draft, raw)
        draft.replace(target)
        sync_folder(folder)
    except OSError as e:
        raise local_error(e, what="the anchor cannot be written", where=str(target)) from e
    return target, fingerprint


def _recognized(raw: bytes, source: Path) -> tuple[str, str]:
    """Return the name that a file has in an anchor's folder, and its fingerprint."""
    where = shown(str(source))
    text = raw.lstrip()
    is_certificate = text.startswith(b"-----BEGIN CERTIFICATE")
    if text.startswith(b"-----BEGIN PUBLIC KEY") or (
        source.suffix in KEY_ENDINGS and not is_certificate
    ):
        key = PublicKey.parse(raw, name=where)
        return "key.pub", f"{key.algorithm} {key.fingerprint}"
    pin = TufPin(root=raw, origin=where)
    try:
        version = pin.version()
    except AirlockError:
        pass
    else:
        return "root.json", f"TUF root {version} sha256 {pin.digest.hex}"
    with contextlib.suppress(RefusedError):
        pins = NotaryPins.parse(raw, name=where, read=_elsewhere)
        ending = "pem" if raw.lstrip().startswith(b"-----BEGIN") else "json"
        return f"notary-root.{ending}", f"notary root, {'; '.join(pins.lines())}"
    try:
        TrustedRoot.parse(raw, name=where)
    except AirlockError as e:
        raise AnchorFileError(
            "not a file that could be an anchor",
            where=where,
            expected="a public key, a trusted_root.json, a TUF root, or a Notary root's pins",
            found=e.message,
        ) from e
    ending = "jsonl" if raw.strip().count(b"\n{") else "json"
    return f"trusted_root.{ending}", f"trusted root sha256 {Digest.of(raw).hex}"


def _elsewhere(file: str) -> bytes:
    """Refuse pins that are not whole in one file."""
    raise AnchorFileError(
        "pins that name another file",
        where=shown(file),
        hint="put both into the anchor's folder by hand",
    )
