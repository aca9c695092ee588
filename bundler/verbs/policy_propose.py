"""`policy propose`: another policy for the far side, signed by those who may change it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import argparse

    from bundler.verbs.call import Call

HELP: Final = "propose another policy to the far side"
DESCRIPTION: Final = (
    "Write a proposal into a folder and sign it; run it again there with another key for a second "
    "signature. `airlock pack --propose-policy DIR` carries it; the far side shows what changes, "
    "and accepts it only with enough of the policy keys that it pinned."
)


def declare(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("policy", type=Path, metavar="POLICY")
    parser.add_argument("--into", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--serial", type=int, required=True, metavar="N", help="higher than the last one's"
    )
    parser.add_argument("--reason", required=True, help="why, for whoever looks at the change")
    parser.add_argument(
        "--sign-key",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="sign with this PEM key, or one of cosign's (again for more)",
    )


def run(call: Call) -> int:
    """Write and sign."""
    from bundler.proposal import propose  # noqa: PLC0415
    from bundler.sign import Signer  # noqa: PLC0415
    from bundler.verbs.pack import passphrase  # noqa: PLC0415

    options = call.arguments
    signers = [
        Signer.open(path, passphrase=lambda: passphrase(call.environment))
        for path in options.sign_key
    ]
    proposal = propose(
        options.policy,
        serial=options.serial,
        reason=options.reason,
        into=options.into,
        signers=signers,
    )
    print(f"{options.into}: policy {proposal.policy}, serial {proposal.serial}")
    print(f"{len(signers)} signatures made; what is signed is {options.into / 'proposal.json'}")
    return 0
