"""The anchors of this host: keys and trusted roots that an operator pinned, by name.

A name in the policy is looked for, in this order, in the policy's own `[anchor.NAME]` tables,
beside the policy in `anchors/NAME/`, in the host's anchors folder, and among the roots that came
with this program. The first place that has it decides; there is no mixing, and nothing that a
bundle carries is ever looked at here (DESIGN §4, decision 4).
"""

from __future__ import annotations

import difflib
import os
import stat
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias, assert_never

from loader.digest import Digest
from loader.errors import AirlockError, AnchorFileError, InterruptedLoadError, TrustRootError, shown
from loader.limits import DEFAULT_LIMITS
from loader.trust.anchors import KEY_ENDINGS, AnchorKind, AnchorUse
from loader.trust.freshness import Dates, age_of, oldest
from loader.trust.keys import PublicKey
from loader.trust.notary_pins import NotaryPins, is_key_id
from loader.trust.trusted_root import Authority, TrustedRoot
from loader.trust.tuf_pin import TARGET, VOUCHED_BY, TufPin
from loader.trust.validity import ALWAYS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from datetime import datetime

    from loader.limits import Limits
    from loader.trust.anchors import Anchored, AnchorFile, AnchorRule
    from loader.trust.freshness import AnchorAge, Reckoned
    from loader.trust.trusted_root import Log
    from loader.trust.validity import Validity

BUILTIN_DIRECTORY: Final = (
    Path(sys.executable).resolve().parent
    if getattr(sys, "frozen", False)
    else Path(__file__).resolve().parents[2]
) / "trust-roots"
"""Beside the frozen program, or beside the packages."""

_FOLDER: Final = "anchors"
_NAMES_OF: Final[dict[AnchorKind, tuple[str, ...]]] = {
    "trusted-root": ("trusted_root.json", "trusted_root.jsonl"),
    "tuf-root": ("root.json",),
    "notary-root": ("notary-root.json", "notary-root.pem"),
}


AnchorValue: TypeAlias = "TrustedRoot | PublicKey | TufPin | NotaryPins"


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """One pinned key, trusted root or TUF root, and where it was found."""

    name: str
    value: AnchorValue
    file_digest: Digest
    origin: str
    """The file, in words for a report."""
    tuf: TufPin | None = None
    """The TUF root beside it, whose repository brings newer trusted roots; the value itself where
    there is nothing but that root yet."""
    use: AnchorKind | None = None
    """As what the policy refers to it; None where it does not matter."""
    expires_at: datetime | None = None
    """When the first role of its TUF repository expires, where metadata of it was verified."""
    carried: bool = False
    """Whether that metadata came with the bundle at hand."""
    parts: tuple[Dates, ...] = ()
    """Of what was verified under it: each role of each Notary repository."""

    @property
    def kind(self) -> AnchorKind:
        """What it is."""
        match self.value:
            case PublicKey():
                return "key"
            case TrustedRoot():
                return "trusted-root"
            case TufPin():
                return "tuf-root"
            case NotaryPins():
                return "notary-root"
            case _:
                assert_never(self.value)

    @property
    def dates(self) -> Dates:
        """What it says of time. A key says nothing; the policy may say when it must have signed."""
        match self.value:
            case PublicKey(valid_for=window):
                return Dates(window=window)
            case TrustedRoot() as root:
                return Dates(
                    dated_at=root.dated_at, expires_at=self.expires_at, carried=self.carried
                )
            case _:
                return Dates(expires_at=self.expires_at, carried=self.carried)

    @property
    def fingerprint(self) -> str:
        """What two people compare: a key's SHA-256 of its SubjectPublicKeyInfo, else the file's."""
        match self.value:
            case PublicKey(fingerprint=fingerprint):
                return fingerprint
            case _:
                return self.file_digest.hex


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustStore:
    """All anchors that one policy refers to; every one was read and understood."""

    anchors: tuple[Anchor, ...]

    @classmethod
    def open(
        cls,
        policy: Anchored,
        *,
        policy_directory: Path,
        anchors_directory: Path | None = None,
        builtin: Path = BUILTIN_DIRECTORY,
        limits: Limits = DEFAULT_LIMITS,
    ) -> TrustStore:
        """Read every anchor that the policy refers to.

        Args:
            policy: names and files of anchors.
            policy_directory: the folder that its relative paths start from.
            anchors_directory: the host's own anchors, a folder each.
            builtin: the roots that came with this program, a folder each.
            limits: sizes.

        Raises:
            AnchorFileError: a file that is named cannot be read or understood, or a key is nowhere.
            TrustRootError: a trusted root is nowhere.
        """
        reader = _Reader(
            files={anchor.name: anchor for anchor in policy.anchors},
            windows={rule.name: rule.valid_for for rule in policy.anchor_rules},
            policy_directory=policy_directory,
            folders=tuple(
                folder
                for folder in (policy_directory / _FOLDER, anchors_directory, builtin)
                if folder is not None
            ),
            limits=limits,
        )
        found = {use: reader.anchor(use) for use in policy.uses}
        for anchor in tuple(found.values()):
            if anchor.tuf is not None and anchor.tuf.names_identities:
                # Whoever vouches for the identities is an anchor, too, whether or not a rule
                # refers to it.
                use = AnchorUse(
                    name=anchor.tuf.vouched_by, kind="trusted-root", where=f"anchor.{anchor.name}"
                )
                found.setdefault(use, reader.anchor(use))
        return cls(anchors=tuple(found.values()))

    def find(self, name: str) -> Anchor | None:
        """Return the anchor of this name, if the policy refers to it."""
        return next((anchor for anchor in self.anchors if anchor.name == name), None)

    @property
    def logs(self) -> tuple[Log, ...]:
        """The logs of all trusted roots."""
        return tuple(log for log, _ in self._logs())

    @property
    def logs_by_anchor(self) -> tuple[tuple[Log, str], ...]:
        """The same, each with the name of its anchor."""
        return tuple(self._logs())

    def logs_of(self, names: Collection[str]) -> frozenset[str]:
        """Return the ids of the logs of these anchors, hexadecimal."""
        return frozenset(log.log_id.hex() for log, name in self._logs() if name in names)

    def _logs(self) -> Iterator[tuple[Log, str]]:
        for anchor in self.anchors:
            if isinstance(anchor.value, TrustedRoot):
                yield from ((log, anchor.name) for log in anchor.value.logs)

    def ages(self, rules: Sequence[AnchorRule], time: Reckoned) -> tuple[AnchorAge, ...]:
        """Return how old each anchor is at a time, and whether policy still takes it."""
        by_name = {rule.name: rule for rule in rules}
        return tuple(
            oldest(
                age_of(one.name, dates, by_name.get(one.name), time, where=one.origin)
                for dates in one.parts or (one.dates,)
            )
            for one in self.anchors
        )

    def key(self, name: str) -> PublicKey:
        """Return a key.

        Raises:
            AnchorFileError: the policy that this store was opened for refers to no such key.
        """
        for anchor in self.anchors:
            if anchor.name == name and isinstance(anchor.value, PublicKey):
                return anchor.value
        raise AnchorFileError("no such key in the store", found=shown(name))

    def trusted_root(self, name: str) -> TrustedRoot:
        """Return a trusted root.

        Raises:
            TrustRootError: nothing but a TUF root is known of it yet.
            AnchorFileError: the policy that this store was opened for refers to no such root.
        """
        for anchor in self.anchors:
            if anchor.name == name and isinstance(anchor.value, TrustedRoot):
                return anchor.value
        for anchor in self.anchors:
            if anchor.name == name and isinstance(anchor.value, TufPin):
                raise TrustRootError(
                    "no trusted root has come from this TUF repository yet",
                    where=shown(name),
                    expected=f"a bundle that carries it, with {shown(anchor.value.target)}",
                    hint="pack with `--tuf NAME=REPOSITORY`, or bring it with "
                    "`airlock-loader trust import`",
                )
        raise AnchorFileError("no such trusted root in the store", found=shown(name))

    def notary_pins(self, name: str) -> NotaryPins:
        """Return where trust in Notary repositories begins.

        Raises:
            AnchorFileError: the policy that this store was opened for refers to no such anchor.
        """
        for anchor in self.anchors:
            if anchor.name == name and isinstance(anchor.value, NotaryPins):
                return anchor.value
        raise AnchorFileError("no such notary root in the store", found=shown(name))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reader:
    files: dict[str, AnchorFile]
    windows: dict[str, Validity]
    policy_directory: Path
    folders: tuple[Path, ...]
    limits: Limits

    def anchor(self, use: AnchorUse) -> Anchor:
        path = self._path(use)
        if use.kind == "tuf-root" or (use.kind == "trusted-root" and self._is_tuf(use, path)):
            return self._tuf(use, path)
        inline = use.kind == "notary-root" and is_key_id(path.name)
        raw = (
            path.name.encode()
            if inline
            else _read(path, size_max=self.limits.trusted_root_size_max)
        )
        try:
            value = self._value(use, raw, path)
        except AnchorFileError:
            raise  # of another file, which it names
        except InterruptedLoadError:
            raise
        except AirlockError as e:
            raise AnchorFileError(
                f"the {use.kind} {use.name!r} cannot be understood: {e.message}",
                where=f"{path}: {e.where}" if e.where else str(path),
                expected=e.expected,
                found=e.found,
            ) from e
        described = self.files.get(use.name)
        if described is not None and described.certificate and isinstance(value, TrustedRoot):
            value, raw = self._with_authority(value, described)
        return Anchor(
            name=use.name,
            value=value,
            file_digest=Digest.of(raw),
            origin=str(path),
            tuf=self._beside(use, path),
            use=use.kind,
        )

    def _is_tuf(self, use: AnchorUse, path: Path) -> bool:
        """Tell whether a trusted root is to come from a TUF repository.

        In an anchor's folder the file's name says so; a file that somebody names is what they say.
        """
        described = self.files.get(use.name)
        if described is not None:
            return described.kind == "tuf-root"
        return not use.is_file and path.name in _NAMES_OF["tuf-root"]

    def _tuf(self, use: AnchorUse, path: Path) -> Anchor:
        """Return an anchor of which a TUF root is all that there is."""
        raw = _read(path, size_max=self.limits.tuf_root_size_max)
        described = self.files.get(use.name)
        pin = TufPin(
            root=raw,
            origin=str(path),
            target=(described and described.target) or TARGET,
            vouched_by=(described and described.vouched_by) or VOUCHED_BY,
        )
        return Anchor(
            name=use.name,
            value=pin,
            file_digest=pin.digest,
            origin=str(path),
            tuf=pin,
            use=use.kind,
        )

    def _beside(self, use: AnchorUse, path: Path) -> TufPin | None:
        """Return the TUF root that lies in an anchor's folder, beside its trusted root."""
        root = path.with_name(_NAMES_OF["tuf-root"][0])
        if use.kind != "trusted-root" or use.is_file or use.name in self.files:
            return None
        if not root.is_file():
            return None
        return TufPin(root=_read(root, size_max=self.limits.tuf_root_size_max), origin=str(root))

    def _value(self, use: AnchorUse, raw: bytes, path: Path) -> AnchorValue:
        match use.kind:
            case "key":
                window = self.windows.get(use.name, ALWAYS)
                return PublicKey.parse(raw, name=use.name, valid_for=window)
            case "trusted-root":
                return TrustedRoot.parse(raw, name=use.name)
            case "notary-root":
                size_max = self.limits.trusted_root_size_max
                return NotaryPins.parse(
                    raw,
                    name=use.name,
                    read=lambda file: _read(path.parent / file, size_max=size_max),
                    limits=self.limits,
                )
            case "tuf-root":
                raise AnchorFileError("a TUF root is no value of its own")  # `_tuf` reads it
            case _:
                assert_never(use.kind)

    def _with_authority(
        self, root: TrustedRoot, described: AnchorFile
    ) -> tuple[TrustedRoot, bytes]:
        """Return a root in which a private authority stands alone, and the authority's file."""
        path = self.policy_directory / described.certificate
        raw = _read(path, size_max=self.limits.trusted_root_size_max)
        try:
            authority = Authority.parse_pem(raw, name=described.name, limits=self.limits)
        except InterruptedLoadError:
            raise
        except AirlockError as e:
            raise AnchorFileError(
                f"the certificate of {described.name!r} cannot be understood: {e.message}",
                where=str(path),
                expected=e.expected,
                found=e.found,
            ) from e
        return replace(root, certificate_authorities=(authority,), ct_logs=()), raw

    def _path(self, use: AnchorUse) -> Path:
        described = self.files.get(use.name)
        if described is not None:
            return self.policy_directory / described.file
        if use.is_file:
            return self.policy_directory / use.name
        for folder in self.folders:
            found = tuple(_candidates(folder / use.name, use.kind))
            if not found and use.kind == "trusted-root":
                # Bundles bring the trusted root that a TUF root stands for.
                found = tuple(_candidates(folder / use.name, "tuf-root"))
            if len(found) > 1:
                raise AnchorFileError(
                    f"more than one {use.kind} in an anchor's folder",
                    where=str(folder / use.name),
                    found=", ".join(path.name for path in found),
                )
            if found:
                return found[0]
        known = sorted({*self.files, *_names(self.folders)})
        near = difflib.get_close_matches(use.name, known, n=1)
        error = AnchorFileError if use.kind == "key" else TrustRootError
        raise error(
            f"the policy names a {use.kind} that this host does not have",
            where=use.where,
            expected=f"[anchor.{use.name}] in the policy, or anchors/{use.name}/",
            hint=f"is {near[0]!r} meant?" if near else "",
        )


def _candidates(folder: Path, kind: AnchorKind) -> Iterator[Path]:
    try:
        paths = sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as e:
        raise AnchorFileError("an anchor's folder cannot be read", where=str(folder)) from e
    for path in paths:
        if _is_of_kind(path, kind):
            yield path


def _is_of_kind(path: Path, kind: AnchorKind) -> bool:
    match kind:
        case "key":
            return path.suffix in KEY_ENDINGS and path.name not in _NAMES_OF["notary-root"]
        case _:
            return path.name in _NAMES_OF[kind]


def _names(folders: tuple[Path, ...]) -> Iterator[str]:
    for folder in folders:
        if folder.is_dir():
            yield from (path.name for path in folder.iterdir() if path.is_dir())


def _read(path: Path, *, size_max: int) -> bytes:
    """Read a regular file that is not larger than so many bytes; a pipe would hang for ever."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as e:
        raise AnchorFileError(
            "an anchor cannot be read", where=str(path), found=e.strerror or type(e).__name__
        ) from e
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise AnchorFileError("an anchor is not a regular file", where=str(path))
    with os.fdopen(fd, "rb") as file:
        raw = file.read(size_max + 1)
    if len(raw) > size_max:
        raise AnchorFileError(
            "an anchor is too large", where=str(path), expected=f"at most {size_max} bytes"
        )
    return raw
