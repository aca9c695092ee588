"""Builders: what a certificate tells of a build, and how far a builder is trusted (FORMATS §2.5).

The certificate is the authority: its issuer looked at the run's token, the predicate is what the
run wrote. A predicate that says something else than its certificate is a lie, or is about another
build. Levels are decided as in FORMATS §2.6:

    level 3    a builder that its users cannot write to: slsa-github-generator at a tag, or one that
               the policy lists with this level and that is another workflow than its caller
    level 2    GitHub's own machines signed it, for the workflow that it names as builder
    level 1    somebody whom the policy names said it
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from loader.errors import ContradictionError, PolicyFileError, shown
from loader.model.provenance import run_of
from loader.policy.facts import Problem
from loader.policy.keys import Key, Text, Whole, names_of
from loader.verify.facts import CertificateSigner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loader.model.provenance import Claimed, Provenance
    from loader.policy.toml import Table
    from loader.verify.facts import Signer

GITHUB: Final = "https://github.com/"
GITHUB_ISSUER: Final = "https://token.actions.githubusercontent.com"
GENERATOR: Final = f"{GITHUB}slsa-framework/slsa-github-generator/.github/workflows/"
GENERATOR_CONTAINER_NAME: Final = f"{GENERATOR}generator_container_slsa3.yml"
LEVEL_MAX: Final = 3
BUILDER_COUNT_MAX: Final = 100
_GENERATOR_3: Final = re.compile(re.escape(GENERATOR) + r"[a-z0-9_-]+_slsa3\.yml", re.ASCII)
RELEASE_REF: Final = re.compile(
    r"refs/tags/v(?:0|[1-9][0-9]*)\.(?:0|[1-9][0-9]*)\.(?:0|[1-9][0-9]*)", re.ASCII
)
_PINNED_REF: Final = re.compile(r"refs/tags/v?[0-9][0-9A-Za-z.+-]*|[0-9a-f]{40}", re.ASCII)

BUILDER_KEYS: Final = (
    Key(
        name="id",
        form=Text(),
        words="builder's id, as provenance and certificate name it; with @REF, or any pinned ref",
        required=True,
    ),
    Key(
        name="level",
        form=Whole(minimum=1, maximum=LEVEL_MAX),
        words="the highest SLSA build level that this builder is trusted with",
        required=True,
    ),
)
"""The keys of `[[builder]]`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuilderId:
    """A builder as a policy names it: with the ref that it must run from, or without."""

    name: str
    ref: str

    @classmethod
    def parse(cls, text: str) -> BuilderId:
        """Return the builder; the ref stands behind the last `@`, as slsa-verifier reads it."""
        name, at, ref = text.rpartition("@")
        return cls(name=name, ref=ref) if at else cls(name=text, ref="")

    def matches(self, builder: str) -> bool:
        """Tell whether this is the builder; `v1.2.3` stands for `refs/tags/v1.2.3`."""
        name, at, ref = builder.rpartition("@")
        if not at:
            name, ref = builder, ""
        return name == self.name and self.ref in {"", ref, ref.removeprefix("refs/tags/")}

    def __str__(self) -> str:
        return f"{self.name}@{self.ref}" if self.ref else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedBuilder:
    """A builder that the policy trusts up to a level."""

    id: BuilderId
    level: int


def read_builders(table: Table) -> tuple[ListedBuilder, ...]:
    """Return the `[[builder]]` tables.

    Raises:
        PolicyFileError: an unknown key, no id, or one twice.
    """
    found: list[ListedBuilder] = []
    for item in table.each("builder", count_max=BUILDER_COUNT_MAX):
        item.only(names_of(BUILDER_KEYS))
        one = ListedBuilder(
            id=BuilderId.parse(item.text("id")),
            level=item.integer("level", minimum=1, maximum=LEVEL_MAX),
        )
        if one.id in {other.id for other in found}:
            raise PolicyFileError("a builder twice", where=item.at("id"), found=str(one.id))
        found.append(one)
    return tuple(found)


def certified(signer: CertificateSigner) -> dict[Claimed, tuple[tuple[str, str], ...]]:
    """Return what a certificate tells of a build, each fact with every place that tells it."""
    found: dict[Claimed, tuple[tuple[str, str], ...]] = {}
    for claimed, place, value in _certified(signer):
        found[claimed] = (*found.get(claimed, ()), (place, value))
    return found


def _certified(signer: CertificateSigner) -> Iterator[tuple[Claimed, str, str]]:
    extensions = signer.extensions
    yield "builder", "certificate's identity", signer.san
    server = extensions.get("12", GITHUB).partition("://")[2].partition("/")[0]
    for claimed, number in _EXTENSIONS:
        if number in extensions:
            value = extensions[number]
            if number == "5":  # the deprecated one leaves the server away
                value = f"https://{server}/{value}"
            yield claimed, f"certificate .{number}", run_of(value) if claimed == "run" else value
    config = extensions.get("18")
    if config is not None:
        path, _, _ = config.partition("@")
        repository = extensions.get("12") or f"https://{server}/{extensions.get('5', '')}"
        yield "workflow", "certificate .18", path.removeprefix(f"{repository}/")


_EXTENSIONS: Final[tuple[tuple[Claimed, str], ...]] = (
    ("builder", "9"),
    ("runner", "11"),
    ("repository", "12"),
    ("repository", "5"),
    ("commit", "13"),
    ("commit", "3"),
    ("commit", "19"),
    ("ref", "14"),
    ("ref", "6"),
    ("repository-id", "15"),
    ("owner-id", "17"),
    ("trigger", "20"),
    ("trigger", "2"),
    ("run", "21"),
)


def contradiction(provenance: Provenance, signer: Signer, *, builders: bool) -> Problem | None:
    """Tell where certificate and predicate, or two places of either, say different things.

    Args:
        provenance: what the predicate says.
        signer: who signed it; a key tells nothing of a build.
        builders: whether the predicate's builder must be the certificate's identity. It is for all
            that GitHub runs; elsewhere the policy names the builder.
    """
    by_certificate = certified(signer) if isinstance(signer, CertificateSigner) else {}
    config = isinstance(signer, CertificateSigner) and signer.extensions.get("18", "")
    if config and not _is_of_source(config, by_certificate):
        return Problem(
            code=ContradictionError.code,
            message="the certificate contradicts itself: its workflow is not of its repository",
            expected=f"one of {shown(_first(by_certificate, 'repository'))}",
            found=shown(config),
        )
    for claimed in dict.fromkeys((*by_certificate, *provenance.said)):
        places = (*by_certificate.get(claimed, ()), *provenance.said.get(claimed, ()))
        if claimed == "builder" and not builders:
            places = provenance.said.get(claimed, ())
        for place, value in places[1:]:
            if value != places[0][1]:
                return Problem(
                    code=ContradictionError.code,
                    message=f"the provenance contradicts its certificate about the {claimed}"
                    if by_certificate.get(claimed)
                    else f"the provenance contradicts itself about the {claimed}",
                    expected=f"{shown(places[0][1])} ({places[0][0]})",
                    found=f"{shown(value)} ({place})",
                )
    return None


def _is_of_source(config: str, by_certificate: dict[Claimed, tuple[tuple[str, str], ...]]) -> bool:
    repository = _first(by_certificate, "repository")
    return config.count("@") == 1 and (not repository or config.startswith(f"{repository}/"))


def _first(said: dict[Claimed, tuple[tuple[str, str], ...]], claimed: Claimed) -> str:
    return next((value for _, value in said.get(claimed, ())), "")


def level_of(
    provenance: Provenance, signer: Signer, listed: tuple[ListedBuilder, ...]
) -> tuple[int, str]:
    """Return the SLSA build level that provenance which holds comes to, and why."""
    if isinstance(signer, CertificateSigner) and signer.issuer == GITHUB_ISSUER:
        # GitHub vouches for the workflow that signed; which builder it calls itself, nobody does.
        return _level_on_github(signer, listed, _trusted(listed, signer.san))
    trusted = _trusted(listed, provenance.value("builder"))
    return (trusted, "listed in the policy") if trusted else (1, "a builder that is not known")


def _trusted(listed: tuple[ListedBuilder, ...], builder: str) -> int:
    return max((one.level for one in listed if one.id.matches(builder)), default=0)


def _level_on_github(
    signer: CertificateSigner, listed: tuple[ListedBuilder, ...], trusted: int
) -> tuple[int, str]:
    name, _, ref = signer.san.rpartition("@")
    runner = signer.extensions.get("11", "")
    if runner not in {"", "github-hosted"}:
        return 1, f"it ran on a machine of its own ({shown(runner)[1:-1]})"
    if _GENERATOR_3.fullmatch(name) is not None and RELEASE_REF.fullmatch(ref) is not None:
        return LEVEL_MAX, "slsa-github-generator at a release"
    hosted = (2, "GitHub's own machines") if runner else (1, "the certificate names no machine")
    if trusted < LEVEL_MAX or not runner:
        return (trusted, "listed in the policy") if 0 < trusted < LEVEL_MAX else hosted
    if signer.extensions.get("18", signer.san) == signer.san:
        return 2, "the builder is the caller's own workflow"
    if _PINNED_REF.fullmatch(ref) is None and not _pins(listed, signer.san):
        return 2, "the builder's ref can move, and the policy does not name it"
    return trusted, "listed in the policy"


def _pins(listed: tuple[ListedBuilder, ...], san: str) -> bool:
    return any(one.id.ref and one.id.matches(san) for one in listed)
