"""A signal is nobody's fault: no handler on the line may blame an anchor or a key for it."""

from __future__ import annotations

import ast
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from loader.config import Config
from loader.errors import InterruptedLoadError
from loader.interrupts import SIGNALS, Interrupts
from loader.state.database import parse_digest
from tests.architecture import tree

# Where the signals are not taken over: Ctrl-C is Python's own there, or nothing listens any more.
UNWATCHED = {
    "loader/blob_report.py",
    "loader/cli.py",
    "loader/doctor.py",
    "loader/pipeline.py",
    "loader/prune.py",
    "loader/recheck.py",
    "loader/runtime/asking.py",  # a signal while things are put back: they were not, and it is said
    "loader/runtime/launched.py",
    "loader/state/audit.py",
    "loader/state/export.py",
    "loader/state/ledger.py",  # within `Interrupts.held`
    "loader/status.py",
    "loader/trusting.py",
    "loader/verbs/audit.py",
    "loader/verbs/judged.py",
    "loader/verbs/policy.py",
    "loader/verbs/state.py",
    "loader/verbs/status.py",
    "loader/verbs/verify_local.py",
    "loader/verify/conformance.py",
    "loader/watch/tasks.py",  # the hook, after everything is done
}
BROAD = {"AirlockError", "LocalError"}


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    sys.setprofile(None)
    for number, handler in before.items():
        signal.signal(number, handler)


def signalled_in(function: str, go: Callable[[], object]) -> None:
    """Run, and send a signal the moment that a function of this qualified name is entered."""

    def entered(frame: FrameType, event: str, argument: object) -> None:
        del argument
        if event == "call" and frame.f_code.co_qualname == function:
            sys.setprofile(None)
            signal.raise_signal(signal.SIGTERM)

    Interrupts.watch()
    sys.setprofile(entered)
    go()


def test_a_signal_while_a_key_is_read_does_not_blame_the_key(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    (tmp_path / "key.pem").write_bytes(b"")
    path.write_text(
        'schema = 1\n[ledger]\nsign-command = ["/bin/true"]\npublic-key = "key.pem"\n',
        encoding="utf-8",
    )
    with pytest.raises(InterruptedLoadError, match="signal"):
        signalled_in("PublicKey.parse", lambda: Config.read(path))


def test_a_signal_while_a_row_is_read_does_not_blame_the_ledger() -> None:
    with pytest.raises(InterruptedLoadError, match="signal"):
        signalled_in("Digest.parse", lambda: parse_digest("sha256:", where="here"))


def names_of(handler: ast.ExceptHandler) -> set[str]:
    return {node.id for node in ast.walk(handler.type or handler) if isinstance(node, ast.Name)}


def goes_on(handler: ast.ExceptHandler) -> bool:
    """Tell whether what was caught is not raised again as it is."""
    last = handler.body[-1]
    return not (isinstance(last, ast.Raise) and last.exc is None)


def swallowing(source: str) -> Iterator[int]:
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Try):
            continue
        passed = False
        for handler in node.handlers:
            caught = set() if handler.type is None else names_of(handler)
            passed = passed or "InterruptedLoadError" in caught
            partial = handler.name == "partial"  # raised as it is, in place of what was caught
            if caught & BROAD and goes_on(handler) and not passed and not partial:
                yield handler.lineno


def test_no_broad_handler_takes_a_signal_for_something_else() -> None:
    found = {
        f"{path.relative_to(tree.ROOT)}:{line}"
        for path in (tree.ROOT / "loader").rglob("*.py")
        for line in swallowing(path.read_text(encoding="utf-8"))
    }
    assert {one for one in found if one.partition(":")[0] not in UNWATCHED} == set()
    assert {one.partition(":")[0] for one in found} == UNWATCHED, "an exception that is none"
