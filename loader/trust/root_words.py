"""A trusted root in words: who may issue certificates, who logs, who says when, and since when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loader.errors import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loader.trust.trusted_root import Authority, Log, TrustedRoot
    from loader.trust.validity import Validity


def who_vouches(root: TrustedRoot) -> Iterator[str]:
    """Yield a line for each authority and log; what is retired counts for its own time alone."""
    for authority in root.certificate_authorities:
        yield f"certificates by {_authority(authority)}"
    for log in root.logs:
        yield f"signatures logged in {_log(log)}"
    for log in root.ct_logs:
        yield f"certificates logged in {_log(log)}"
    for authority in root.timestamp_authorities:
        yield f"times stamped by {_authority(authority)}"
    for what in root.unusable:
        yield f"not used, of a kind that is not known here: {shown(what)}"


def _authority(one: Authority) -> str:
    subject = ", ".join(str(part.value) for part in one.anchor.subject)
    return f"{shown(one.name)[1:-1]} ({shown(subject)[1:-1]}), {_window(one.valid_for)}"


def _log(one: Log) -> str:
    return f"{shown(one.name)[1:-1]} ({one.log_id.hex()[:16]}), {_window(one.valid_for)}"


def _window(window: Validity) -> str:
    start = "" if window.start is None else f"{window.start:%Y-%m-%d}"
    end = "" if window.end is None else f"{window.end:%Y-%m-%d}"
    if not end:
        return f"from {start}" if start else "always"
    return f"{start} to {end}" if start else f"until {end}"
