from __future__ import annotations

import errno
import os
import pwd
from pathlib import Path

import pytest

from loader.errors import (
    InputError,
    LocalError,
    NoSpaceError,
    ReadOnlyError,
    StateError,
    UsageError,
)
from loader.places import Places, local_error, read_small_file, state_error


def test_root_has_the_systems_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    places = Places.of_this_user()
    assert str(places.policy) == "/etc/airlock/policy.toml"
    assert str(places.ledger) == "/var/lib/airlock/ledger.sqlite"
    assert str(places.floors) == "/var/lib/airlock/floors"
    assert str(places.quarantine) == "/var/lib/airlock/quarantine"
    assert str(places.lock_note) == "/run/airlock.lock"


def test_others_have_the_xdg_defaults_and_no_variable_moves_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nobody = pwd.getpwnam("nobody")
    monkeypatch.setattr(os, "geteuid", lambda: nobody.pw_uid)
    before = Places.of_this_user()
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "AIRLOCK_ROOT"):
        monkeypatch.setenv(name, "/tmp/evil")
    assert Places.of_this_user() == before
    assert before.state == Path(nobody.pw_dir, ".local/state/airlock")


def test_a_user_without_a_home_is_asked_for_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """A182."""
    monkeypatch.setattr(os, "geteuid", lambda: 1_234_567)
    with pytest.raises(UsageError) as error:
        Places.of_this_user()
    assert "--root" in error.value.hint


@pytest.mark.parametrize(
    ("number", "local", "state"),
    [
        (errno.ENOSPC, NoSpaceError, NoSpaceError),
        (errno.EDQUOT, NoSpaceError, NoSpaceError),
        (errno.EFBIG, NoSpaceError, NoSpaceError),
        (errno.EROFS, ReadOnlyError, ReadOnlyError),
        (errno.EIO, LocalError, StateError),
        (errno.EACCES, LocalError, StateError),
        (errno.EMFILE, LocalError, StateError),
    ],
)
def test_faults_of_this_machine_are_told_apart(
    number: int, local: type[LocalError], state: type[LocalError]
) -> None:
    error = OSError(number, os.strerror(number))
    assert type(local_error(error, what="x")) is local
    assert type(state_error(error, what="x")) is state


def test_an_operators_file_is_a_regular_file_of_a_size(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_bytes(b"x" * 10)
    (tmp_path / "link").symlink_to(path)
    assert read_small_file(tmp_path / "link", size_max=10, what="the policy") == b"x" * 10
    os.mkfifo(tmp_path / "fifo")
    for name, size_max in (("policy.toml", 9), ("fifo", 10), (".", 10), ("nowhere", 10)):
        with pytest.raises(InputError):
            read_small_file(tmp_path / name, size_max=size_max, what="the policy")
