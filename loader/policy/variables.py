"""Variables in a policy's values: `{version}`, `{tag}`, `{source_commit}`.

    of the run         given with `--var NAME=VALUE`, or by `[watch] vars` of config.toml; filled
                       in before anything is read
    of the image       tag and repository that it was packed under; filled in for each image
    of the evidence    what verified provenance of the same image says; compared when all is weighed

A value cannot become a pattern, a key or another rule: it is compared letter by letter, like the
literal text around it, and quoted where it stands in a pattern. Whatever looks like a variable and
is none is refused, since a typing error would otherwise be a text that nothing equals, or worse,
one that something does.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeAlias

from loader.errors import PolicyFileError, shown
from loader.policy.patterns import filled_pattern, variables_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from loader.model.reference import Reference
    from loader.policy.toml import TomlValue

Fill: TypeAlias = "Callable[[str], str]"

OF_IMAGES: Final = ("tag", "repository")
OF_EVIDENCE: Final = ("digest", "source_commit", "source_tag", "source_uri")
NO_TAG: Final = "{tag: this image has none}"
"""No ref of Git and no tag holds a colon or a space (git-check-ref-format)."""
VALUE_LENGTH_MAX: Final = 256
VARIABLE: Final = re.compile(r"\{([a-z][a-z0-9_]{0,31})\}", re.ASCII)
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)
_ANYWHERE: Final = re.compile(
    r"certificate-identity|certificate-github-workflow-[a-z]+|certificate-extension"
    r"|annotations|predicate|source-uri|source-tag|source-branch|source-commit|builder-id|workflow"
    r"|workflow-inputs|path",
    re.ASCII,
)
"""Keys whose values may hold any variable; in patterns (`…-regexp`) stand those of the run."""


def read_variables(options: Sequence[str]) -> dict[str, str]:
    """Return the variables that `--var NAME=VALUE` options give.

    Raises:
        PolicyFileError: not of that form, or one name twice.
    """
    found: dict[str, str] = {}
    for option in options:
        name, equals, value = option.partition("=")
        if not equals or name in found:
            raise PolicyFileError(
                "not a variable, or one twice",
                where="--var",
                expected="NAME=VALUE",
                found=shown(option),
            )
        found[name] = value
    expect_variables(found, where="--var")
    return found


def expect_variables(given: Mapping[str, str], *, where: str) -> None:
    """Refuse variables of the run that no policy could use.

    Raises:
        PolicyFileError: a name that is none or is taken, a value that is empty or cannot be seen.
    """
    for name, value in given.items():
        if _NAME.fullmatch(name) is None or name in (*OF_IMAGES, *OF_EVIDENCE):
            raise PolicyFileError(
                "not the name of a variable that can be given",
                where=where,
                expected=f"{_NAME.pattern}, and none of {', '.join((*OF_IMAGES, *OF_EVIDENCE))}",
                found=shown(name),
            )
        if not value or not value.isprintable() or len(value) > VALUE_LENGTH_MAX or "{" in value:
            raise PolicyFileError(
                "not a value that a variable can have",
                where=f"{where}, {name}",
                expected=f"1 to {VALUE_LENGTH_MAX} characters that can be seen, without braces",
                found=shown(value),
            )


class Filling:
    """Fills the variables of a run into a document, and remembers which were used."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self._given = given
        self.used: set[str] = set()

    @property
    def filled(self) -> dict[str, str]:
        """Those that were used, with their values."""
        return {name: text for name, text in self._given.items() if name in self.used}

    def requirement(self, value: TomlValue, path: str) -> TomlValue:
        """Return a requirement's table with these variables filled in.

        Raises:
            PolicyFileError: a variable that nobody gives, or where none can stand.
        """
        if not isinstance(value, dict):
            return value
        return {key: self._value(item, f"{path}.{key}", key) for key, item in value.items()}

    def _value(self, value: TomlValue, path: str, key: str) -> TomlValue:
        match value:
            case str():
                return self._text(value, path, key)
            case list():
                return [
                    self._value(item, f"{path}[{position}]", key)
                    for position, item in enumerate(value)
                ]
            case dict() if key in {"any", "ignore"}:
                return self.requirement(value, path) if key == "any" else value
            case dict():
                return {
                    name: self._value(item, f"{path}.{name}", key) for name, item in value.items()
                }
            case _:
                return value

    def _pattern(self, text: str, path: str) -> str:
        """Return a pattern in which each variable of the run stands for its own text alone."""
        names = variables_of(text, where=path)
        for name in names:
            if name in (*OF_IMAGES, *OF_EVIDENCE):
                raise PolicyFileError(
                    "a variable where none can stand",
                    where=path,
                    found=f"{{{name}}}",
                    hint="a pattern holds variables of the run (`--var`) alone; "
                    "`certificate-identity` holds others",
                )
            if name not in self._given:
                raise _without_value(name, path)
        self.used |= set(names)
        return filled_pattern(text, self._given)

    def _text(self, text: str, path: str, key: str) -> str:
        if key.endswith("-regexp"):
            return self._pattern(text, path)
        for name in VARIABLE.findall(text):
            if _ANYWHERE.fullmatch(key) is None:
                raise PolicyFileError(
                    "a variable where none can stand",
                    where=path,
                    found=f"{{{name}}}",
                )
            if name in OF_EVIDENCE and key != "predicate":
                raise PolicyFileError(
                    "what evidence says can only be compared with a predicate",
                    where=path,
                    found=f"{{{name}}}",
                )
            if name not in (*self._given, *OF_IMAGES, *OF_EVIDENCE):
                raise _without_value(name, path)
        self.used |= set(VARIABLE.findall(text)) & set(self._given)
        return VARIABLE.sub(lambda m: self._given.get(m[1], m[0]), text)


def _without_value(name: str, path: str) -> PolicyFileError:
    return PolicyFileError(
        "a variable that has no value",
        where=path,
        found=f"{{{name}}}",
        hint=f"give it with `--var {name}=VALUE`, to watch with [watch] vars in config.toml; "
        "known without: " + ", ".join((*OF_IMAGES, *OF_EVIDENCE)),
    )


def filler_of(reference: Reference) -> Fill:
    """Return what fills an image's variables into a text.

    Without a tag `{tag}` becomes what nothing equals. Left as it stands it would be a name that Git
    takes: who may push any tag but those that are protected would push the tag `{tag}`.
    """
    values = {"repository": reference.name, "tag": reference.tag or NO_TAG}
    return lambda text: VARIABLE.sub(lambda m: values.get(m[1], m[0]), text)


def speaks_of_images(raw: bytes) -> bool:
    """Tell whether a policy's text holds variables of images at all."""
    return any(f"{{{name}}}".encode() in raw for name in OF_IMAGES)
