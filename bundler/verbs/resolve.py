"""`resolve`: the digest that a tag points to now; also of a tag that is chosen by its date."""

from __future__ import annotations

import json
import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from bundler.verbs.call import declare_registries
from loader.errors import UsageError, shown

if TYPE_CHECKING:
    import argparse

    from bundler.dated_tags import Wish
    from bundler.reach import Reach
    from bundler.verbs.call import Call
    from loader.model.strictjson import JsonObject

HELP: Final = "the digest that a tag points to; or the newest dated tag"
DESCRIPTION: Final = (
    "Print registry/repository:tag@digest as the registry has it now. That it is the right image "
    "is for `airlock verify` to say."
)
SCHEMA: Final = "airlock-resolve/1"


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("image", metavar="IMAGE", help="registry/repository[:tag]")
    which = parser.add_argument_group("which tag, where IMAGE names none")
    which.add_argument("--tag-contains", metavar="TEXT", help="a part of it, as a short commit")
    which.add_argument("--newest", action="store_true", help="the one with the latest date in it")
    which.add_argument("--max-age", metavar="48h", help="refuse a tag whose date is older")
    parser.add_argument("--json", action="store_true", help="schema airlock-resolve/1")
    declare_registries(parser)


def run(call: Call) -> int:
    """Ask the registry, and print what it says."""
    from bundler.reach import Reach  # noqa: PLC0415  (start-up loads what the verb needs)

    options = call.arguments
    wish = _wish(options)
    found = _resolved(call, wish, Reach.make(options, environment=call.environment))
    if options.json:
        print(json.dumps(found, indent=2, sort_keys=True))
    else:
        print(found["reference"])
        if found["age_days"] is not None:
            print(f"dated {found['date']}, {found['age']} old", file=sys.stderr)
    return 0


def _wish(options: argparse.Namespace) -> Wish:
    from bundler.dated_tags import Wish  # noqa: PLC0415
    from bundler.duration import parse_duration  # noqa: PLC0415

    chosen = bool(options.tag_contains) or options.newest
    name = options.image.rpartition("/")[2]
    if chosen and (":" in name or "@" in name):
        raise UsageError("the image says its tag already", found=shown(options.image))
    return Wish(
        contains=options.tag_contains or "",
        newest=options.newest,
        max_age=None
        if options.max_age is None
        else parse_duration(options.max_age, where="--max-age"),
    )


def _resolved(call: Call, wish: Wish, reach: Reach) -> JsonObject:
    from bundler import dated_tags  # noqa: PLC0415
    from bundler.resolve import top_of  # noqa: PLC0415
    from bundler.sources import parse_reference  # noqa: PLC0415

    reference = parse_reference(call.arguments.image)
    now = call.clock()
    with reach.registries(threading.Event()) as registries:
        repository = registries.repository(reference)
        if wish.contains or wish.newest:
            tags = repository.tags()
            tag = dated_tags.choose(tags or (), wish, where=reference.name)
            reference = replace(reference, tag=tag)
        if wish.max_age is not None:
            dated_tags.expect_fresh(reference.tag, wish.max_age, now=now, where=str(reference))
        digest = top_of(repository, reference).descriptor.digest
    dated = dated_tags.date_of(reference.tag)
    age = dated_tags.age_of(reference.tag, now=now)
    tagged = f"{reference.name}:{reference.tag}" if reference.tag else reference.name
    return {
        "schema": SCHEMA,
        "reference": f"{tagged}@{digest}",
        "name": reference.name,
        "tag": reference.tag or None,
        "digest": str(digest),
        "date": None if dated is None else dated.isoformat(),
        "age": None if age is None else dated_tags.in_words(age),
        "age_days": None if age is None else age.days,
    }
