"""`airlock-loader`: the only place that reads arguments, clock, environment and working directory.

One function per verb. What is not needed is not imported: `--version` and a usage error load
neither cryptography nor SQLite.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NoReturn, assert_never

from loader import VERSION, blob_options
from loader.errors import (
    AirlockError,
    InternalError,
    MemoryLimitError,
    OutputError,
    UsageError,
    shown,
)

if TYPE_CHECKING:
    from loader.places import Places
    from loader.report import Outcome
    from loader.run import Host, Wish
    from loader.runtime.base import Runtime
    from loader.runtime.targets import Target

_PROGRAM: Final = "airlock-loader"
Clock = Callable[[], datetime]


def _clock() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """One command line, and the world it was given in."""

    arguments: argparse.Namespace
    environment: Mapping[str, str]
    clock: Clock

    @property
    def places(self) -> Places:
        from loader.places import Places  # noqa: PLC0415

        root: Path | None = self.arguments.root
        return Places.of_this_user() if root is None else Places.under(root.absolute())


def main(argv: Sequence[str] | None = None, *, clock: Clock = _clock) -> int:
    """Run one command and return its exit status (DESIGN §10)."""
    try:
        _settle_standard_files()
        words = sys.argv[1:] if argv is None else list(argv)
        if words[:1] == ["verify-bundle"]:
            return _verify_bundle(words[1:])
        arguments = _parser().parse_args(words)
        run: Callable[[_Call], int] = arguments.run
        return run(_Call(arguments=arguments, environment=os.environ, clock=clock))
    except AirlockError as e:
        return _say_error(e)
    except Exception as e:  # noqa: BLE001 - the one place: whatever it is, it is a refusal
        return _say_error(_bug(e))


def _settle_standard_files() -> None:
    """Refuse to run where nobody could hear the verdict.

    A closed standard file is dangerous in itself: the next file that is opened takes its number,
    and a message would be written into the ledger.

    Raises:
        OutputError: standard output is closed.
    """
    closed = []
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
            closed.append(fd)
    if 2 in closed:  # noqa: PLR2004
        # Python has none then, and would print to standard output, behind the verdict.
        sys.stderr = os.fdopen(2, "w", closefd=False)
    if 1 in closed:
        raise OutputError("standard output is closed", expected="somewhere to write the verdict")


# --- the command line -----------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(shown(message)[1:-1], hint=f"{_PROGRAM} --help")


class _NoForce(argparse.Action):
    def __call__(self, *_: object) -> NoReturn:
        raise UsageError(
            "there is no --force: nothing lets unverified bytes in",
            hint="where going back is meant: --allow-downgrade REASON; every other exception is a "
            "line in the policy",
        )


def _path(text: str) -> Path:
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError("not a path")
    return Path(text)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=_PROGRAM,
        allow_abbrev=False,
        description="Verify signed container images behind an air gap, and load them.",
        epilog="Exit statuses and error codes: docs/errors.md.",
    )
    parser.add_argument("--version", action="version", version=f"{_PROGRAM} {VERSION}")
    parser.add_argument(
        "--root",
        type=_path,
        metavar="DIR",
        help="keep policy, anchors, ledger and quarantine below DIR",
    )
    verbs = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)

    verify = verbs.add_parser(
        "verify", allow_abbrev=False, help="judge a bundle to its last byte; write nothing"
    )
    _bundle_arguments(verify)
    verify.set_defaults(run=_verify)

    load = verbs.add_parser("load", allow_abbrev=False, help="judge a bundle, then load its images")
    _bundle_arguments(load)
    load.add_argument(
        "--into",
        required=True,
        metavar="TARGET",
        help="oci:DIR, docker, podman, containerd or containerd:NAMESPACE",
    )
    load.add_argument(
        "-p", "--platform", metavar="OS/ARCH", help="this platform of each image, not the host's"
    )
    load.add_argument(
        "--allow-downgrade",
        metavar="REASON",
        help="let something older in; the reason is recorded and shown ever after",
    )
    load.add_argument("--force", action=_NoForce, nargs=0, help=argparse.SUPPRESS)
    load.set_defaults(run=_load)

    verbs.add_parser(
        "verify-bundle",
        allow_abbrev=False,
        help="verify one Sigstore bundle: the protocol of sigstore-conformance",
    )

    blob = verbs.add_parser("verify-blob", allow_abbrev=False, help=blob_options.HELP)
    blob_options.declare(blob, _path)
    blob.set_defaults(run=_verify_blob)

    doctor = verbs.add_parser("doctor", allow_abbrev=False, help="say what this host has and lacks")
    doctor.add_argument("--json", action="store_true", help="print JSON")
    doctor.set_defaults(run=_doctor)
    return parser


def _bundle_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=_path, metavar="BUNDLE")
    parser.add_argument(
        "--policy", type=_path, metavar="FILE", help="instead of this host's policy"
    )
    parser.add_argument("--json", action="store_true", help="print the verdict as JSON")
    parser.add_argument(
        "--explain", action="store_true", help="show every piece of evidence, and why it counts"
    )


# --- verbs ----------------------------------------------------------------------------------------


def _verify(call: _Call) -> int:
    def go(run: _Run) -> None:
        run.cut_off()
        from loader import pipeline  # noqa: PLC0415
        from loader.progress import progress_on  # noqa: PLC0415

        host = run.open_host()
        progress = progress_on(sys.stderr)
        path: Path = call.arguments.bundle
        pipeline.verify(path, host, run.trace, allow_downgrade=None, progress=progress)

    return _judged(call, "verify", go)


def _load(call: _Call) -> int:
    from loader.runtime.targets import open_target, parse_target  # noqa: PLC0415

    def go(run: _Run) -> None:
        target = parse_target(call.arguments.into)
        run.wish = wish = _wish(call, target)
        with open_target(target, call.environment) as runtime:
            _hand_in(run, runtime, wish)

    def _hand_in(run: _Run, runtime: Runtime, wish: Wish) -> None:
        run.cut_off()
        # Behind the fork of the launcher, which needs none of this.
        from loader import pipeline  # noqa: PLC0415
        from loader.progress import progress_on  # noqa: PLC0415

        pipeline.load(
            call.arguments.bundle,
            run.open_host(),
            runtime,
            wish,
            run.trace,
            progress=progress_on(sys.stderr),
            interrupts=run.interrupts,
        )

    return _judged(call, "load", go)


def _doctor(call: _Call) -> int:
    from loader import doctor  # noqa: PLC0415

    findings = doctor.examine(call.places, environment=call.environment, now=call.clock())
    _print(doctor.as_json(findings) if call.arguments.json else doctor.as_text(findings))
    return doctor.exit_status(findings)


def _verify_blob(call: _Call) -> int:
    from loader import confine  # noqa: PLC0415

    how = confine.cut_off().how
    from loader.blob_report import run_blob  # noqa: PLC0415

    text, error = run_blob(call.arguments, call.places, how=how)
    _print(text)
    return 0 if error is None else _say_error(error)


def _verify_bundle(words: Sequence[str]) -> int:
    """Drive the verifier as sigstore-conformance does; its command line has no other options."""
    from loader import confine  # noqa: PLC0415

    confine.cut_off()
    from loader.verify.conformance import verify_bundle_main  # noqa: PLC0415

    return verify_bundle_main(words)


# --- one run --------------------------------------------------------------------------------------


class _Run:
    """What one judged run gathers."""

    def __init__(self, call: _Call, verb: Literal["verify", "load"]) -> None:
        from loader.interrupts import Interrupts  # noqa: PLC0415
        from loader.run import Trace  # noqa: PLC0415

        self.call = call
        self.verb = verb
        self.interrupts = Interrupts.watch()
        self.trace = Trace(archive=shown(str(call.arguments.bundle))[1:-1])
        self.confinement: tuple[str, ...] = ()
        self.host: Host | None = None
        self.wish: Wish | None = None

    def cut_off(self) -> None:
        """Leave every network for good; from here on, what others wrote may be read."""
        from loader import confine  # noqa: PLC0415

        self.confinement = confine.cut_off().how

    def open_host(self) -> Host:
        """Read policy and anchors."""
        from loader.limits import DEFAULT_LIMITS  # noqa: PLC0415
        from loader.places import read_small_file  # noqa: PLC0415
        from loader.policy.model import Policy  # noqa: PLC0415
        from loader.run import Host  # noqa: PLC0415
        from loader.trust.store import TrustStore  # noqa: PLC0415

        places = self.call.places
        path: Path = self.call.arguments.policy or places.policy
        raw = read_small_file(path, size_max=DEFAULT_LIMITS.policy_size_max, what="the policy")
        policy = Policy.parse(raw, where=shown(str(path))[1:-1])
        self.trace.warnings.extend(f"policy: {warning}" for warning in policy.warnings)
        trust = TrustStore.open(
            policy, policy_directory=path.absolute().parent, anchors_directory=places.anchors
        )
        self.host = Host(
            places=places, policy=policy, trust=trust, now=self.call.clock(), version=VERSION
        )
        return self.host

    def outcome(self, error: AirlockError | None) -> Outcome:
        """Return what the run came to."""
        from loader.report import Outcome  # noqa: PLC0415

        return Outcome(
            verb=self.verb,
            trace=self.trace,
            host=self.host,
            wish=self.wish,
            confinement=self.confinement,
            error=error,
        )


def _judged(call: _Call, verb: Literal["verify", "load"], go: Callable[[_Run], None]) -> int:
    """Run, and say what it came to: a report, and one line where it did not end well."""
    from loader.report import as_json, as_text  # noqa: PLC0415

    run = _Run(call, verb)
    error: AirlockError | None = None
    try:
        go(run)
    except AirlockError as e:
        error = e
    except Exception as e:  # noqa: BLE001 - the report tells of it, and it is a refusal
        error = _bug(e)
    run.interrupts.ignore()
    outcome = run.outcome(error)
    text = ""
    if call.arguments.json:
        text = as_json(outcome)
    elif error is None or run.trace.size:
        # Where not even the archive was opened, the one line below says all there is.
        text = as_text(outcome, explain=call.arguments.explain)
    try:
        _print(text)
    except OutputError as e:
        error = error or e
    return 0 if error is None else _say_error(error)


def _wish(call: _Call, target: Target) -> Wish:
    from loader.model.descriptor import Platform  # noqa: PLC0415
    from loader.run import Wish  # noqa: PLC0415
    from loader.runtime.targets import MACHINES  # noqa: PLC0415

    asked: str | None = call.arguments.platform
    if asked is None and target.runtime != "oci":
        asked = MACHINES.get(os.uname().machine)
        if asked is None:
            raise UsageError(
                "which platform this machine runs is not known",
                found=os.uname().machine,
                hint="say it: --platform OS/ARCH",
            )
    try:
        platform = None if asked is None else Platform.parse(asked)
    except AirlockError as e:
        raise UsageError("not a platform", where="--platform", found=shown(asked)) from e
    return Wish(
        target=_target_key(target, call.environment),
        platform=platform,
        allow_downgrade=call.arguments.allow_downgrade,
    )


def _target_key(target: Target, environment: Mapping[str, str]) -> str:
    """Return what tells this target from others on this host: what we put in one is not in all."""
    match target.runtime:
        case "oci":
            return f"oci:{Path(target.argument).resolve()}"
        case "docker":
            key, further = "docker", environment.get("DOCKER_HOST")
        case "podman":
            key, further = "podman", None
        case "containerd":
            space = target.argument or environment.get("CONTAINERD_NAMESPACE") or "default"
            key, further = f"containerd:{space}", environment.get("CONTAINERD_ADDRESS")
        case _:
            assert_never(target.runtime)
    return f"{key} at {further}" if further else key


# --- saying it ------------------------------------------------------------------------------------


def _print(text: str) -> None:
    """Write to standard output, all of it.

    Raises:
        OutputError: it is full, or nobody reads it any more.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as e:
        # What is still buffered must not fail a second time when Python ends.
        with contextlib.suppress(OSError):
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, 1)
        raise OutputError(
            "the verdict could not be written to standard output",
            found=e.strerror or "",
            hint="what was done is done: airlock-loader verify says it again",
        ) from e


def _say_error(error: AirlockError) -> int:
    from loader.report import error_lines, plain  # noqa: PLC0415

    # Where nobody hears it, the exit status says it.
    with contextlib.suppress(OSError, AttributeError):
        for line in error_lines(error):
            print(line, file=sys.stderr)
        if isinstance(error, InternalError) and error.__cause__ is not None:
            for line in traceback.format_exception(error.__cause__):
                for part in line.splitlines():
                    print(plain(f"trace: {part}"), file=sys.stderr)
        sys.stderr.flush()
    return error.exit_status


def _bug(e: Exception) -> AirlockError:
    """Return what an exception that nobody expected means for the operator."""
    if isinstance(e, MemoryError):
        error: AirlockError = MemoryLimitError(
            "this process was given no more memory", hint="256 MiB are enough for every bundle"
        )
    elif isinstance(e, OSError):
        from loader.places import local_error  # noqa: PLC0415

        name = shown(str(e.filename)) if e.filename is not None else ""
        error = local_error(e, what="the system refused something", where=name)
    else:
        error = InternalError(
            f"a bug in Airlock: {type(e).__name__}: {shown(str(e))}",
            hint="the bundle was not accepted; please report the lines below",
        )
    error.__cause__ = e
    return error
