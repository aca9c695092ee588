"""Any bytes at the bundler's doors: a value, or an error of ours; in bounded time."""

from __future__ import annotations

import contextlib
import json
import tarfile
import time
from pathlib import Path
from tempfile import TemporaryFile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bundler.bundle_file import BundleFile
from bundler.errors import CredentialError, SourceError
from bundler.registry.challenge import parse_challenges, reading_scope
from bundler.registry.credential_helper import HelperPrograms
from bundler.registry.credentials import Credentials
from bundler.registry.proxy import proxies_for
from bundler.registry.retry import retry_after_seconds
from bundler.registry.tar_index import index_tar
from bundler.sources import parse_list, parse_source
from loader.errors import RefusedError
from tests.architecture import tree

FEW = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["auths", "credHelpers", "credsStore", "r.example", "auth", "username"])
            | st.text(max_size=8),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@FEW
@given(st.text(max_size=300))
def test_challenges_and_scopes(text: str) -> None:
    for challenge in parse_challenges(text):
        for part in reading_scope(challenge.scope, "org/app").split():
            assert not part.startswith("registry:")
            assert "push" not in part.rpartition(":")[2] or not part.startswith("repository:")


@FEW
@given(st.text(max_size=100), st.text(max_size=100))
def test_retry_after(value: str, date: str) -> None:
    found = retry_after_seconds(value, date)
    assert found is None or found >= 0


@FEW
@given(st.text(max_size=60))
def test_no_proxy(excepted: str) -> None:
    proxies_for("https://r.example:5000/", {"NO_PROXY": excepted, "HTTPS_PROXY": "p"})


@FEW
@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_lists_and_bundle_files(raw: bytes) -> None:
    for parse in (parse_list, BundleFile.parse):
        with contextlib.suppress(SourceError):
            parse(raw, path=Path("/x"))


@FEW
@given(st.text(max_size=60))
def test_sources(text: str) -> None:
    try:
        found = parse_source(text)
    except SourceError:
        return
    assert str(found)


@FEW
@given(JSON)
def test_credential_files(tmp_path: Path, document: object) -> None:
    path = tmp_path / "auth.json"
    path.write_text(json.dumps(document))
    known = {"REGISTRY_AUTH_FILE": str(path), "PATH": ""}
    with contextlib.suppress(CredentialError):
        Credentials(known, helper=HelperPrograms(environment=known)).for_registry(
            "r.example", "org/app"
        )


def walked(raw: bytes) -> None:
    with TemporaryFile() as file:
        file.write(raw)
        file.flush()
        try:
            places = index_tar(file)
        except RefusedError:
            return
    assert all(place.offset + place.size <= len(raw) for place in places.values())


@FEW
@given(st.binary(max_size=3000))
def test_archives(raw: bytes) -> None:
    walked(raw)


@FEW
@given(st.integers(0, 511), st.integers(0, 255), st.booleans())
def test_headers_with_one_byte_changed(at: int, value: int, mend: bool) -> None:  # noqa: FBT001
    info = tarfile.TarInfo("index.json")
    info.size = 5
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[at] = value
    if mend:
        counted = sum(header[:148]) + 8 * 0x20 + sum(header[156:])
        header[148:156] = b"%06o\0 " % counted
    walked(bytes(header) + b"12345" + bytes(507) + bytes(1024))


@pytest.mark.parametrize(
    "text",
    ['Bearer a="' + '\\"' * 4000, "a=" * 4000, "a b " * 2000, 'Basic realm="' * 600, ", " * 4000],
)
def test_challenges_made_to_take_long(text: str) -> None:
    begin = time.process_time()
    parse_challenges(text)
    assert time.process_time() - begin < 0.5


def test_one_module_imports_oras_and_three_speak_http() -> None:
    found: dict[str, set[str]] = {}
    for path in tree.files("bundler"):
        for name in tree.imported(path):
            top = name.split(".")[0]
            if top in {"oras", "requests", "urllib3", "socket", "http", "ssl"}:
                found.setdefault(top, set()).add(tree.relative(path).removeprefix("bundler/"))
    assert found["oras"] == {"registry/oras_client.py"}
    doors = {"registry/http.py", "registry/connections.py", "registry/oras_client.py"}
    assert found["requests"] <= doors
    assert found["urllib3"] <= doors
    assert found["socket"] <= {"registry/connections.py", "registry/watchdog.py"}
    assert found["ssl"] <= {"registry/connections.py", "registry/tls.py"}
    assert found["http"] <= {"registry/http.py"}
