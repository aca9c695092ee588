from __future__ import annotations

from datetime import timedelta

import pytest

from loader.errors import PolicyFileError
from loader.limits import Limits
from loader.model.reference import Reference
from loader.policy.claims.bundle_signature import BundleSignatureClaim
from loader.policy.claims.signature import SignatureClaim
from loader.policy.model import Policy
from loader.policy.speakers import CertificateSpeaker, KeySpeaker
from loader.trust.anchors import AnchorUse

KEY = """
schema = 1
[[image]]
match = "ghcr.io/org/*"
[[image.require]]
claim = "signature"
key = "release"
"""
KEYLESS = """
schema = 1
[[image]]
match = "ghcr.io/org/*"
[[image.require]]
claim = "signature"
trusted-root = "sigstore"
certificate-identity-regexp = 'https://github\\.com/org/.*'
certificate-oidc-issuer = "https://token.actions.githubusercontent.com"
"""


def parse(text: str) -> Policy:
    return Policy.parse(text.encode(), where="policy.toml")


def signature(text: str) -> SignatureClaim:
    claim = parse(text).rules[0].require[0]
    assert isinstance(claim, SignatureClaim)
    return claim


def refused(text: str) -> PolicyFileError:
    with pytest.raises(PolicyFileError) as caught:
        parse(text)
    assert caught.value.exit_status == 2
    assert caught.value.where.startswith("policy.toml")
    return caught.value


def test_a_key_needs_no_log_by_default() -> None:
    said = signature(KEY).said
    assert said.speakers == (
        KeySpeaker(key="release", trusted_root=None, log="none", timestamps=0),
    )
    assert (said.threshold, said.quantifier) == (1, "any")


def test_a_key_with_a_trusted_root_needs_a_promise_by_default() -> None:
    speaker = signature(KEY + 'trusted-root = "sigstore"\n').said.speakers[0]
    assert isinstance(speaker, KeySpeaker)
    assert (speaker.trusted_root, speaker.log) == ("sigstore", "promise")


def test_keyless_needs_a_promise_and_an_sct_by_default() -> None:
    speaker = signature(KEYLESS).said.speakers[0]
    assert isinstance(speaker, CertificateSpeaker)
    assert (speaker.log, speaker.sct, speaker.timestamps) == ("promise", 1, 0)


def test_a_private_instance_without_logs_can_be_said() -> None:
    speaker = signature(KEYLESS + 'log = "none"\nsct = 0\ntimestamps = 1\n').said.speakers[0]
    assert isinstance(speaker, CertificateSpeaker)
    assert (speaker.log, speaker.sct, speaker.timestamps) == ("none", 0, 1)


def test_a166_empty_and_missing() -> None:
    assert refused("").where.endswith("schema")
    assert refused("schema = 1").where.endswith("image")
    assert refused("schema = 1\nimage = []").where.endswith("image")


@pytest.mark.parametrize("schema", ["0", "2", '"1"', "true", "1.0", "99"])
def test_another_schema_is_refused(schema: str) -> None:
    refused(KEY.replace("schema = 1", f"schema = {schema}"))


@pytest.mark.parametrize(
    ("line", "place", "near"),
    [
        ("treshold = 2", "image[0].require[0].'treshold'", "threshold"),
        ("Key = 'x'", "image[0].require[0].'Key'", "key"),
        (
            "certificate_identity = 'x'",
            "image[0].require[0].'certificate_identity'",
            "certificate-identity",
        ),
        ("require_signatures = false", "image[0].require[0].'require_signatures'", ""),
        ("[other]", "'other'", ""),
    ],
)
def test_a166_unknown_keys_name_the_nearest(line: str, place: str, near: str) -> None:
    error = refused(KEY + line + "\n")
    assert error.where == f"policy.toml: {place}"
    assert near in error.hint


@pytest.mark.parametrize("key", ["require_signatures", "insecure", "allow-unsigned", "skip-verify"])
def test_a167_nothing_weakens_a_policy(key: str) -> None:
    for at in ("schema = 1\n", 'match = "ghcr.io/org/*"\n', 'claim = "signature"\n'):
        refused(KEY.replace(at, f"{at}{key} = true\n"))


@pytest.mark.parametrize("value", ["0", "-1", "2147483648", '"2"', "1.0", "true", "[1]"])
def test_a023_a_threshold_is_a_count_of_people(value: str) -> None:
    assert refused(KEY + f"threshold = {value}\n").where.endswith("require[0].threshold")


def test_a_threshold_that_cannot_be_reached_is_refused() -> None:
    assert "never" in refused(KEY + "threshold = 2\n").message
    two = KEY.replace('key = "release"', 'any = [{ key = "a" }, { key = "b" }]')
    assert signature(two + "threshold = 2\n").said.threshold == 2
    refused(two + "threshold = 3\n")
    assert signature(KEYLESS + "threshold = 3\n").said.threshold == 3


@pytest.mark.parametrize(
    "change",
    [
        ("key = ", "certificate-identity = 'x'\nkey = "),
        ("key = ", "any = [{ key = 'a' }]\nkey = "),
        ('key = "release"', ""),
        ('key = "release"', "any = []"),
        ('key = "release"', "any = [{}]"),
        ('key = "release"', "any = [{ key = 'a' }, { key = 'a' }]"),
        ('key = "release"', "any = [{ key = 'a', any = [] }]"),
        ('key = "release"', "any = ['a']"),
        ('key = "release"', "key = 7"),
        ('key = "release"', "key = ''"),
        ('key = "release"', "key = 'Release'"),
        ('key = "release"', "key = 'root.json'"),
        ('key = "release"', 'key = "a\\nb"'),
        ('key = "release"', 'key = "release"\nlog = "promise"'),
        ('key = "release"', 'key = "release"\nlog = "proof"'),
        ('key = "release"', 'key = "release"\ntimestamps = 1'),
        ('key = "release"', 'key = "release"\nlogs = 2'),
        ('key = "release"', 'key = "release"\nsct = 1'),
        ('key = "release"', 'key = "release"\nlog = true'),
        ('key = "release"', 'key = "release"\ntrusted-root = "sigstore"\nlog = "none"'),
        ('claim = "signature"', ""),
        ('claim = "signature"', 'claim = "signatures"'),
        ('claim = "signature"', "claim = ['signature']"),
        ('claim = "signature"', 'claim = "signature"\nscope = "both"'),
        ('claim = "signature"', 'claim = "signature"\nquantifier = "most"'),
        ('claim = "signature"', 'claim = "signature"\nannotations = {}'),
        ('claim = "signature"', 'claim = "signature"\nannotations = { a = 1 }'),
        ('claim = "signature"', 'claim = "signature"\ndocker-reference = "warn"'),
        ('claim = "signature"', 'claim = "bundle-signature"\nscope = "index"'),
        ('claim = "signature"', 'claim = "bundle-signature"\nannotations = { a = "b" }'),
        ('claim = "signature"', 'claim = "signature"\ntype = "spdx"'),
        ('match = "ghcr.io/org/*"', ""),
        ('match = "ghcr.io/org/*"', 'match = "ghcr.io/org/*"\nname = "any"'),
        ('match = "ghcr.io/org/*"', 'match = "ghcr.io/org/*"\nrollback = "never"'),
        ('match = "ghcr.io/org/*"', 'match = ["ghcr.io/org/*"]'),
    ],
)
def test_what_contradicts_itself_is_refused(change: tuple[str, str]) -> None:
    refused(KEY.replace(*change))


@pytest.mark.parametrize(
    "change",
    [
        ('trusted-root = "sigstore"\n', ""),
        ('certificate-oidc-issuer = "https://token.actions.githubusercontent.com"\n', ""),
        ("certificate-identity-regexp = 'https://github\\.com/org/.*'\n", ""),
        ("certificate-identity-regexp", "certificate-identity = 'x'\ncertificate-identity-regexp"),
        ("'https://github\\.com/org/.*'", "'.*'"),
        ("'https://github\\.com/org/.*'", "''"),
        (
            'certificate-oidc-issuer = "https://token.actions.githubusercontent.com"',
            "certificate-oidc-issuer-regexp = '.*'",
        ),
        ('trusted-root = "sigstore"', 'trusted-root = "sigstore"\nkey = "release"'),
        ('trusted-root = "sigstore"', 'trusted-root = "release.pub"'),
        ('trusted-root = "sigstore"', 'trusted-root = "sigstore"\nsct = -1'),
    ],
)
def test_what_names_everybody_or_nobody_is_refused(change: tuple[str, str]) -> None:
    assert change[0] in KEYLESS
    refused(KEYLESS.replace(*change))


def test_a_claim_that_nobody_knows_is_refused() -> None:
    assert "not a word" in refused(KEY.replace('"signature"', '"signatures"')).message


KEYLESS_KEYS = """trusted-root = "release"
certificate-identity = "x@example.org"
certificate-oidc-issuer = "https://issuer.example"
"""
TUF = """
[anchor.release]
tuf-root = 'root.json'
"""


def test_a_tuf_root_stands_for_a_trusted_root() -> None:
    keyless = KEY.replace('key = "release"', KEYLESS_KEYS)
    policy = parse(keyless + TUF + "target = 'a/b.json'\ntrusted-root = 'vouching'\n")
    [anchor] = policy.anchors
    assert (anchor.kind, anchor.file, anchor.target, anchor.vouched_by) == (
        "tuf-root",
        "root.json",
        "a/b.json",
        "vouching",
    )
    assert [(use.name, use.kind) for use in policy.uses] == [
        ("release", "trusted-root"),
        ("vouching", "trusted-root"),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("key = 'k.pub'", "exactly one thing"),
        ("certificate = 'c.pem'", "exactly one thing"),
        ("target = '../x'", "not the path of a TUF target"),
        ("target = '/x'", "not the path of a TUF target"),
        ("trusted-root = 'release'", "vouch for itself"),
        ("trusted-root = 'No Name'", "not the name of an anchor"),
    ],
)
def test_a_tuf_root_that_means_nothing(line: str, message: str) -> None:
    keyless = KEY.replace('key = "release"', KEYLESS_KEYS)
    assert message in refused(keyless + TUF + line + "\n").message


def test_a_tuf_root_is_no_key() -> None:
    assert "is no key" in refused(KEY + TUF).message


def test_a_target_belongs_to_a_tuf_root() -> None:
    message = refused(KEY + "[anchor.release]\nkey = 'k.pub'\ntarget = 'x'\n").message
    assert "without a TUF repository" in message


def test_anchors_are_exactly_one_thing() -> None:
    policy = parse(KEY + "[anchor.release]\nkey = 'keys/release.pub'\n")
    assert [(a.name, a.kind, a.file) for a in policy.anchors] == [
        ("release", "key", "keys/release.pub")
    ]
    assert policy.uses == (AnchorUse(name="release", kind="key", where=""),)
    refused(KEY + "[anchor.release]\n")
    refused(KEY + "[anchor.release]\nkey = 'a.pub'\ntrusted-root = 'b.json'\n")
    refused(KEY + "[anchor.release]\ntrusted-root = 'b.json'\n")
    refused(KEY + "[anchor.'Re lease']\nkey = 'a.pub'\n")
    refused(KEY + "[anchor]\nrelease = 'a.pub'\n")


def test_how_long_an_anchor_is_taken() -> None:
    """With its file, or where the file lies elsewhere: in `anchors/`, or built in."""
    own = parse(KEYLESS + "[anchor.sigstore]\ntrusted-root = 'r.json'\nmax-staleness = '90d'\n")
    builtin = parse(KEYLESS + "[anchor.sigstore]\nmax-staleness = '12w'\n")
    assert [one.name for one in own.anchors] == ["sigstore"]
    assert builtin.anchors == ()
    limits = [[(r.name, r.max_staleness) for r in one.anchor_rules] for one in (own, builtin)]
    assert limits == [[("sigstore", timedelta(days=90))], [("sigstore", timedelta(weeks=12))]]
    assert own.warnings == builtin.warnings == ()
    other = parse(KEYLESS + "[anchor.other]\nmax-staleness = '1y'\n")
    assert other.warnings == ("anchor.other: no rule refers to it",)


def test_whether_logs_must_be_witnessed() -> None:
    for word in ("warn", "require"):
        [rule] = parse(KEYLESS + f"[anchor.sigstore]\nwitness = '{word}'\n").anchor_rules
        assert (rule.witness, rule.max_staleness) == (word, None)
    refused(KEYLESS + "[anchor.sigstore]\nwitness = 'requires'\n")
    refused(KEYLESS + "[anchor.sigstore]\nwitness = true\n")


@pytest.mark.parametrize(
    "text", ["", "90", "90 d", "0d", "-1d", "1.5d", "90days", "P90D", "d", "999999d", "9\u0660d"]
)
def test_what_is_no_length_of_time(text: str) -> None:
    error = refused(KEYLESS + f"[anchor.acme]\nmax-staleness = '{text}'\n")
    assert error.where.endswith("anchor.acme.max-staleness")
    refused(KEYLESS + "[anchor.acme]\nmax-staleness = 90\n")


def test_a_key_has_no_age() -> None:
    for line in (
        "key = 'k.pub'\nmax-staleness = '30d'",
        "max-staleness = '30d'",
        "witness = 'require'",
    ):
        assert "age" in refused(KEY + f"[anchor.release]\n{line}\n").message


def test_an_anchor_nobody_uses_is_pointed_out() -> None:
    policy = parse(KEY + "[anchor.other]\nkey = 'a.pub'\n")
    assert policy.warnings == ("anchor.other: no rule refers to it",)


@pytest.mark.parametrize(
    "name", ["release", "keys/release.pub", "cosign.pub", "./k", "release.pem"]
)
def test_a_key_is_a_name_or_a_file(name: str) -> None:
    assert parse(KEY.replace('"release"', f'"{name}"')).uses[0].name == name


def test_several_speakers_take_what_stands_beside_their_list() -> None:
    text = KEYLESS.replace(
        "certificate-identity-regexp", "any = [{ key = 'k' }, { certificate-identity-regexp"
    )
    text = text.replace("\ncertificate-oidc", ", certificate-oidc").rstrip() + "}]\n"
    key, certificate = signature(text).said.speakers
    assert isinstance(key, KeySpeaker)
    assert (key.trusted_root, key.log) == (None, "none")
    assert isinstance(certificate, CertificateSpeaker)
    assert certificate.trusted_root == "sigstore"
    key, certificate = signature(text + 'log = "proof"\n').said.speakers
    assert isinstance(key, KeySpeaker)
    assert (key.trusted_root, key.log) == ("sigstore", "proof")
    assert certificate.log == "proof"


def test_workflow_extensions_are_read_by_name() -> None:
    text = KEYLESS + 'certificate-github-workflow-repository = "org/app"\n'
    speaker = signature(text).said.speakers[0]
    assert isinstance(speaker, CertificateSpeaker)
    assert speaker.workflow == (("repository", "org/app"),)
    refused(KEYLESS + 'certificate-github-workflow-actor = "x"\n')


def test_certificate_extensions_are_read_by_name() -> None:
    text = KEYLESS + 'certificate-extension = { runner-environment = "github-hosted" }\n'
    speaker = signature(text).said.speakers[0]
    assert isinstance(speaker, CertificateSpeaker)
    assert speaker.extensions == (("runner-environment", "github-hosted"),)
    assert "runner-environment 'github-hosted'" in str(speaker)
    for wrong in ('{ runner = "x" }', "{}", '"x"', "{ build-trigger = 1 }", '{ 11 = "x" }'):
        refused(f"{KEYLESS}certificate-extension = {wrong}\n")


def test_every_matching_block_applies_and_the_stricter_word_wins() -> None:
    policy = parse(
        """
schema = 1
[[image]]
match = "**"
rollback = "none"
[[image.require]]
claim = "bundle-signature"
key = "site"
[[image]]
match = "ghcr.io/org/**"
name = "as-packed"
tags = "any"
rollback = "time"
[[image.require]]
claim = "signature"
key = "release"
scope = "platform"
[[image]]
match = "ghcr.io/org/strict"
name = "vouched"
tags = "ours-only"
"""
    )
    app = policy.rules_for(Reference.parse("ghcr.io/org/app:1"))
    assert [type(r) for r in app.require] == [BundleSignatureClaim, SignatureClaim]
    assert (app.name, app.tags, set(app.rollback)) == ("as-packed", "any", {"time"})
    strict = policy.rules_for(Reference.parse("ghcr.io/org/strict:1"))
    assert (strict.name, strict.tags) == ("vouched", "ours-only")
    other = policy.rules_for(Reference.parse("quay.io/org/app:1"))
    assert (other.name, other.rollback, other.tags) == ("vouched", frozenset(), "ours-only")


def test_scope_of_a_block_is_the_default_of_its_requirements() -> None:
    text = KEY.replace('claim = "signature"', 'claim = "signature"')
    assert signature(text).scope == "either"
    block = text.replace('match = "ghcr.io/org/*"', 'match = "ghcr.io/org/*"\nscope = "index"')
    assert signature(block).scope == "index"
    assert signature(block + 'scope = "platform"\n').scope == "platform"


def test_a_block_that_asks_for_nothing_is_refused() -> None:
    error = refused('schema = 1\n[[image]]\nmatch = "ghcr.io/**"\n')
    assert "asks for nothing" in error.message


def test_lone_dots_and_literals_that_look_like_patterns_are_pointed_out() -> None:
    assert parse(KEYLESS).warnings == ()
    assert "full stops" in parse(KEYLESS.replace("\\.", ".")).warnings[0]
    literal = KEYLESS.replace("certificate-identity-regexp", "certificate-identity")
    assert "letter by letter" in parse(literal).warnings[0]


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff",
        b"schema = 1\nschema = 1",
        b"schema =",
        b"\xef\xbb\xbfschema = 1",
        b"a = " + b"[" * 9999,
    ],
)
def test_what_is_not_toml_is_refused(raw: bytes) -> None:
    with pytest.raises(PolicyFileError):
        Policy.parse(raw, where="policy.toml")


def test_a_policy_has_a_size() -> None:
    with pytest.raises(PolicyFileError, match="too large"):
        Policy.parse(KEY.encode(), where="p", limits=Limits(policy_size_max=10))


def test_the_clock_has_two_words() -> None:
    assert parse(KEY).clock == "warn"
    assert parse(KEY + '[time]\nclock = "strict"\n').clock == "strict"
    refused(KEY + '[time]\nclock = "off"\n')
    refused(KEY + "[time]\nskew = 3\n")


def test_both_ways_back_can_be_closed() -> None:
    text = KEY.replace('match = "ghcr.io/org/*"', 'match = "ghcr.io/org/*"\nrollback = "log-index"')
    also = text.replace("schema = 1", "").replace("log-index", "time")
    both = parse(text + also).rules_for(Reference.parse("ghcr.io/org/app:1"))
    assert both.rollback == {"time", "log-index"}
    default = parse(KEY).rules_for(Reference.parse("ghcr.io/org/app:1"))
    assert default.rollback == {"time"}


def test_a_policy_is_known_by_its_bytes() -> None:
    assert parse(KEY).digest != parse(KEY + "\n").digest


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("1", "number"),
        ("1.5", "number"),
        ("true", "boolean"),
        ("[]", "array"),
        ("{}", "table"),
        ("2026-01-01", "date"),
        ("''", "empty string"),
    ],
)
def test_another_type_is_named(value: str, kind: str) -> None:
    assert kind in refused(KEY.replace('"release"', value)).found


def test_patterns_have_a_length() -> None:
    pattern = "a" * 2049
    assert "too long" in refused(KEYLESS.replace("https://github\\.com/org/.*", pattern)).message
