"""`why`: what let an image in, who vouched for it, and under which policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from loader.errors import MissingRecordError, shown
from loader.verbs.saying import print_out

if TYPE_CHECKING:
    import argparse

    from loader.verbs.call import Call

HELP: Final = "what let an image in, and who vouched for it"


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("image", metavar="IMAGE", help="a name, or any digest that it has")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(call: Call) -> int:
    """Look for the records that let the image in.

    Raises:
        MissingRecordError: there is none.
    """
    from loader.ledger_report import reasons_for, why_json, why_text  # noqa: PLC0415
    from loader.state.history import reading  # noqa: PLC0415

    wanted: str = call.arguments.image
    with reading(call.places) as ledger:
        reasons = reasons_for(ledger.records(), wanted)
    if not reasons:
        raise MissingRecordError(
            "no record lets this image in",
            where=shown(str(call.places.ledger)),
            found=shown(wanted),
            hint="airlock-loader history says what was tried; what a runtime has and no record "
            "names, somebody else brought",
        )
    print_out(why_json(wanted, reasons) if call.arguments.json else why_text(wanted, reasons))
    return 0
