"""`history`: what was tried on this host, and what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from loader.verbs.saying import print_out

if TYPE_CHECKING:
    import argparse

    from loader.state.record import Record
    from loader.verbs.call import Call

HELP: Final = "what was tried on this host, and what came of it"
COUNT_SHOWN: Final = 20


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--all", action="store_true", help=f"not only the last {COUNT_SHOWN}")
    parser.add_argument(
        "--image", metavar="NAME", help="only attempts with an image of this name or digest"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(call: Call) -> int:
    """Show the newest records first; write nothing."""
    from loader.ledger_report import history_json, history_text, reasons_for  # noqa: PLC0415
    from loader.state.history import reading  # noqa: PLC0415

    wanted: str | None = call.arguments.image

    def asked(record: Record) -> bool:
        if wanted is None:
            return True
        named = any(wanted in image.name for image in record.attempt.images)
        return named or bool(reasons_for([record], wanted))

    shown: list[Record] = []
    downgrades: list[int] = []
    left_out = 0
    with reading(call.places) as ledger:
        for record in ledger.records():
            if not asked(record):
                continue
            if record.attempt.downgrade is not None:
                downgrades.append(record.number)
            if call.arguments.all or len(shown) < COUNT_SHOWN:
                shown.append(record)
            else:
                left_out += 1
    words = history_json if call.arguments.json else history_text
    print_out(words(shown, left_out=left_out, downgrades=downgrades))
    return 0
