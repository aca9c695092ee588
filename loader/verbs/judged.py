"""A run that judges a bundle: what it gathers, and how it is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from loader import VERSION
from loader.errors import AirlockError, OutputError, shown
from loader.verbs.saying import bug, print_out, say_error

if TYPE_CHECKING:
    from loader.report import Outcome
    from loader.run import Host, Wish
    from loader.state.signing import Signer
    from loader.verbs.call import Call

JudgedVerb: TypeAlias = Literal["verify", "load"]


class JudgedRun:
    """What one judged run gathers."""

    def __init__(self, call: Call, verb: JudgedVerb) -> None:
        from loader.interrupts import Interrupts  # noqa: PLC0415
        from loader.run import Trace  # noqa: PLC0415

        self.call = call
        self.verb = verb
        self.interrupts = Interrupts.watch()
        self.trace = Trace(archive=shown(str(call.arguments.bundle))[1:-1])
        self.confinement: tuple[str, ...] = ()
        self.host: Host | None = None
        self.wish: Wish | None = None
        self.signer: Signer | None = None

    def cut_off(self) -> None:
        """Leave every network for good; from here on, what others wrote may be read."""
        from loader import confine  # noqa: PLC0415

        self.confinement = confine.cut_off().how

    def open_host(self) -> Host:
        """Read policy and anchors."""
        self.host, warnings = open_host(self.call, signer=self.signer)
        self.trace.warnings.extend(warnings)
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


def open_host(
    call: Call,
    *,
    signer: Signer | None = None,
    variables: Mapping[str, str] | None = None,
    earlier: Mapping[str, str] | None = None,
) -> tuple[Host, tuple[str, ...]]:
    """Read policy and anchors; return them with what there is to warn of.

    Args:
        call: the run; where it gives variables, they stand.
        signer: who signs records.
        variables: of config.toml, where the verb has some there; each must be used.
        earlier: the variables of an earlier run that is judged again.

    Raises:
        UsageError, LocalError: they cannot be read or understood.
    """
    from loader.config import Config  # noqa: PLC0415
    from loader.limits import DEFAULT_LIMITS  # noqa: PLC0415
    from loader.places import read_small_file  # noqa: PLC0415
    from loader.policy.model import Policy  # noqa: PLC0415
    from loader.policy.variables import read_variables  # noqa: PLC0415
    from loader.run import Host  # noqa: PLC0415
    from loader.trust.store import TrustStore  # noqa: PLC0415

    places = call.places
    path: Path = call.arguments.policy or places.policy
    raw = read_small_file(path, size_max=DEFAULT_LIMITS.policy_size_max, what="the policy")
    policy = Policy.parse(
        raw,
        where=shown(str(path))[1:-1],
        variables={**(variables or {}), **read_variables(getattr(call.arguments, "var", ()))},
        earlier=earlier,
    )
    trust = TrustStore.open(
        policy, policy_directory=path.absolute().parent, anchors_directory=places.anchors
    )
    host = Host(
        places=places,
        policy=policy,
        trust=trust,
        now=call.clock(),
        version=VERSION,
        signer=signer,
        least=Config.read(places.config).floors,
    )
    return host, tuple(f"policy: {warning}" for warning in policy.warnings)


def judged(call: Call, verb: JudgedVerb, go: Callable[[JudgedRun], None]) -> int:
    """Run, and say what it came to: a report, and one line where it did not end well."""
    from loader.report import as_json, as_text  # noqa: PLC0415

    run = JudgedRun(call, verb)
    error: AirlockError | None = None
    try:
        go(run)
    except AirlockError as e:
        error = e
    except Exception as e:  # noqa: BLE001 - the report tells of it, and it is a refusal
        error = bug(e)
    run.interrupts.ignore()
    outcome = run.outcome(error)
    text = ""
    if call.arguments.json:
        text = as_json(outcome)
    elif error is None or run.trace.size:
        # Where not even the archive was opened, the one line below says all there is.
        text = as_text(outcome, explain=call.arguments.explain)
    try:
        print_out(text)
    except OutputError as e:
        error = error or e
    return 0 if error is None else say_error(error)
