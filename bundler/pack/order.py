"""What a user wants packed: the command line, a `bundle.toml`, and what both leave open."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from bundler import inspect
from bundler.bundle_file import BundleFile
from bundler.duration import parse_duration
from bundler.notary.wanted import TrustSource
from bundler.pack.lock import LOCK_NAME, Lock
from bundler.pack.writer import Format
from bundler.reach import Reach
from bundler.rekor.address import parse_base
from bundler.sources import LIST_SIZE_MAX, Source, parse_list, parse_source
from bundler.tuf.capture import TufSource
from loader.errors import FormatError, RefusedError, UsageError, shown
from loader.limits import DEFAULT_LIMITS
from loader.model.descriptor import Platform
from loader.policy.variables import read_variables
from loader.source import BundleFile as OpenBundle

_SOURCE_DATE_EPOCH: Final = "SOURCE_DATE_EPOCH"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackOrder:
    """One run of `airlock pack`, with nothing left open."""

    sources: tuple[Source, ...]
    """Empty where a lock says what to pack."""
    platforms: tuple[Platform, ...]
    policy: Path
    variables: Mapping[str, str]
    """What the policy is filled with."""
    deny_lists: tuple[Path, ...]
    """Signed deny lists that travel along."""
    output: Path
    format: Format
    channel: str | None
    sequence: int | None
    lifetime: timedelta | None
    created: datetime | None
    """Set from SOURCE_DATE_EPOCH or the lock; None: the newest signed time inside."""
    now: datetime
    sign_keys: tuple[Path, ...]
    proposal: Path | None
    """Folder of a policy that is proposed to the far side."""
    lock: Path
    locked: Lock | None
    reach: Reach
    log_proofs: bool
    """Whether logs are asked for the proofs behind their promises."""
    log_url: str | None
    """Where they are asked; None: where the trusted root says."""
    tuf: tuple[TufSource, ...]
    """Where the TUF repositories of anchors are."""
    signatures: tuple[Path, ...]
    """ghcr-signer's folders: evidence beside the registries' own."""
    content_trust: TrustSource
    """Where content trust is taken from that the policy asks for."""

    @classmethod
    def make(
        cls, options: Namespace, *, environment: Mapping[str, str], now: datetime
    ) -> PackOrder:
        """Return the order that the arguments give, completed by `bundle.toml` and a lock.

        Raises:
            UsageError: something is missing, or said twice in different ways.
        """
        file = _bundle_file(options.file)
        locked = None if options.locked is None else Lock.parse(_read(options.locked))
        sources = _sources(options, file)
        if bool(sources) == (locked is not None):
            raise UsageError(
                "nothing to pack" if locked is None else "a lock says what is packed",
                expected="images, -i FILE or -f FILE; or --locked FILE alone",
            )
        output: Path | None = options.output or (file.output if file else None)
        policy: Path | None = options.policy or (file.policy if file else None)
        if output is None or policy is None:
            raise UsageError(
                "an option is missing", expected="--output and --policy (or both in bundle.toml)"
            )
        channel, sequence = _place(options, file, locked)
        return cls(
            sources=sources,
            platforms=_platforms(options, file),
            policy=policy,
            variables=read_variables(options.var),
            deny_lists=tuple(options.deny_list),
            output=output,
            format="plain" if options.plain else "zstd",
            channel=channel,
            sequence=sequence,
            lifetime=_lifetime(options.expires or (file.expires if file else None)),
            created=locked.created if locked is not None else _source_date(environment),
            now=now.replace(microsecond=0),
            sign_keys=tuple(options.sign_key),
            proposal=options.propose_policy,
            lock=options.lock or options.locked or output.parent / LOCK_NAME,
            locked=locked,
            reach=_reach(options, file, environment),
            signatures=tuple(options.signatures),
            log_proofs=not options.no_log_proofs and (file is None or file.log_proofs),
            log_url=_log_url(options, file),
            tuf=tuple(TufSource.parse(text) for text in options.tuf),
            content_trust=TrustSource(server=options.notary_server, cache=options.notary_cache),
        )


def _bundle_file(path: Path | None) -> BundleFile | None:
    return None if path is None else BundleFile.parse(_read(path), path=path)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(max(LIST_SIZE_MAX, DEFAULT_LIMITS.statement_size_max) + 1)
    except OSError as e:
        raise UsageError("a file cannot be read", where=str(path), found=e.strerror or "") from e


def _sources(options: Namespace, file: BundleFile | None) -> tuple[Source, ...]:
    lists = [options.images] if options.images is not None else []
    found = [parse_source(text) for text in options.references]
    if file is not None:
        found += file.images
        lists += file.images_from
    for path in lists:
        found += parse_list(_read(path), path=path)
    return tuple(dict.fromkeys(found))


def _platforms(options: Namespace, file: BundleFile | None) -> tuple[Platform, ...]:
    if not options.platform:
        return file.platforms if file is not None else ()
    try:
        return tuple(Platform.parse(text) for text in options.platform)
    except FormatError as e:
        raise UsageError(e.message, where="--platform", expected=e.expected, found=e.found) from e


def _place(
    options: Namespace, file: BundleFile | None, locked: Lock | None
) -> tuple[str | None, int | None]:
    """Return channel and sequence: both or none."""
    channel: str | None = options.channel or (file.channel if file else None)
    sequence: int | None = options.sequence or (file.sequence if file else None)
    if locked is not None:
        if options.channel or options.sequence or options.after:
            raise UsageError("a lock says channel and sequence", where="--locked")
        return locked.channel, locked.sequence
    if options.after is not None:
        return _after(options.after, channel)
    if (channel is None) != (sequence is None):
        raise UsageError(
            "a channel needs a sequence, and a sequence a channel",
            expected="--channel NAME with --sequence N, or --after BUNDLE",
        )
    return channel, sequence


def _after(path: Path, channel: str | None) -> tuple[str, int]:
    try:
        with OpenBundle.open(path) as source:
            before, _ = inspect.read(source)
    except RefusedError as e:
        raise UsageError("not a bundle", where=str(path), found=str(e)) from e
    if before.channel is None or before.sequence is None:
        raise UsageError("a bundle without a channel has no successor", where=str(path))
    if channel is not None and channel != before.channel:
        raise UsageError(
            "another channel than the bundle's before it",
            where="--channel",
            expected=before.channel,
            found=shown(channel),
        )
    return before.channel, before.sequence + 1


def _lifetime(text: str | None) -> timedelta | None:
    return None if text is None else parse_duration(text, where="--expires")


def _source_date(environment: Mapping[str, str]) -> datetime | None:
    """Return what SOURCE_DATE_EPOCH says (reproducible-builds.org, version 1.1)."""
    text = environment.get(_SOURCE_DATE_EPOCH)
    if text is None:
        return None
    try:
        # Not `fromtimestamp`: under TZ=right/UTC it counts leap seconds.
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(text))
    except (ValueError, OverflowError) as e:
        raise UsageError(
            "not a number of seconds", where=_SOURCE_DATE_EPOCH, found=shown(text)
        ) from e


def _reach(options: Namespace, file: BundleFile | None, environment: Mapping[str, str]) -> Reach:
    if file is None:
        return Reach.make(options, environment=environment)
    return Reach.make(
        options,
        environment=environment,
        plain_http=file.plain_http,
        ca_files=file.ca_files,
        referrers_by_tag=file.referrers_by_tag,
    )


def _log_url(options: Namespace, file: BundleFile | None) -> str | None:
    if options.rekor_url is not None:
        return parse_base(options.rekor_url, where="--rekor-url")
    return None if file is None else file.log_url
