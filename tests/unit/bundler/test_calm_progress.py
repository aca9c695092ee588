"""Progress of what mostly takes a moment: it leaves nothing behind."""

from __future__ import annotations

import io

import pytest

from bundler.cli import main
from bundler.progress import calm_meter, meter


def test_a_moment_is_not_spoken_of() -> None:
    stream = io.StringIO()
    with calm_meter(stream) as shown:
        shown.say("registry.example/app: sha256:...")
        phase = shown.phase("collect")
        phase.expect(10)
        phase.advance(10)
        phase.end()
    assert stream.getvalue() == ""


def test_others_say_what_they_did() -> None:
    stream = io.StringIO()
    with meter(stream) as shown:
        shown.say("registry.example/app: sha256:...")
        shown.phase("collect").end()
    assert stream.getvalue().startswith("registry.example/app: sha256:...\ncollect: 0 B in ")


def test_bars_go_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    stream = io.StringIO()
    with calm_meter(stream, bars=True) as shown:
        shown.say("registry.example/app: sha256:...")
        phase = shown.phase("collect")
        phase.expect(10)
        phase.end()
    assert "registry.example" not in stream.getvalue()


@pytest.mark.parametrize("words", [[], ["policy"], ["attestation"], ["trust"]])
def test_whoever_types_half_a_command_sees_the_other_half(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert "COMMAND" in said
    assert {"": "attest-provenance", "policy": "import", "attestation": "show", "trust": "fetch"}[
        "".join(words)
    ] in said
