"""YAML documents as plain values (PyYAML's safe loader), with the traps of YAML taken out.

A key that stands twice is refused: which of the two counts is a matter of the reader. So are
anchors and aliases, which no policy needs and which make much of little.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import yaml

from loader.errors import UsageError, shown
from loader.limits import MIB

SIZE_MAX: Final = 1 * MIB
DEPTH_MAX: Final = 32
_DOCUMENTS_MAX: Final = 1000


class _Loader(yaml.SafeLoader):
    """The safe loader without aliases, without twins, and not without end."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose one node.

        Raises:
            MarkedYAMLError: an alias, or nested too deeply.
        """
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="an alias", problem_mark=_mark(self))
        self.depth += 1
        if self.depth > DEPTH_MAX:
            raise yaml.MarkedYAMLError(
                problem=f"nested more than {DEPTH_MAX} deep",
                problem_mark=_mark(self),
            )
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(
        self,
        node: yaml.MappingNode,
        deep: bool = False,  # noqa: FBT001, FBT002 - PyYAML's own
    ) -> dict[object, object]:
        """Construct one mapping.

        Raises:
            MarkedYAMLError: a key that is no text, or stands twice.
        """
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {shown(getattr(key, 'value', ''))} stands twice, or is none",
                    problem_mark=key.start_mark,
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _mark(loader: yaml.SafeLoader) -> yaml.Mark:
    mark: yaml.Mark = loader.peek_event().start_mark  # type: ignore[no-untyped-call]
    return mark


def documents(raw: bytes, *, where: str) -> Iterator[object]:
    """Yield the documents of a YAML file.

    Raises:
        UsageError: it is not YAML, or makes use of what nobody should have to guess.
    """
    if len(raw) > SIZE_MAX:
        raise UsageError("the file is too large", where=where, expected=f"at most {SIZE_MAX} bytes")
    try:
        text = raw.decode("utf-8")
        for count, document in enumerate(yaml.load_all(text, Loader=_Loader)):
            if count == _DOCUMENTS_MAX:
                raise UsageError("too many documents in one file", where=where)
            if document is not None:
                yield document
    except UnicodeDecodeError as e:
        raise UsageError("not UTF-8", where=f"{where}, byte {e.start}") from e
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark
        place = where if mark is None else f"{where}:{mark.line + 1}"
        raise UsageError("not YAML that can be taken", where=place, found=e.problem or "") from e
    except (yaml.YAMLError, ValueError, RecursionError) as e:
        raise UsageError("not YAML", where=where, found=shown(str(e))) from e
