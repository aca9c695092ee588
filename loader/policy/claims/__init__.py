"""The claims that a policy can ask for: each module holds one, whole.

A module has the claim as a value (its `str` says what it asks for beyond who), its keys as data
(`KEYS`), `read` (TOML to value), and what the claim makes of evidence. A new claim is one such
module, and a line wherever the type checker then complains: the union `rules.Requirement` is closed
by `assert_never` in `reading.py`, `weigh.py` and `decide.py`.

    claims on evidence     weighed piece by piece; `means` says what a piece by the right one says
    bundle-signature       weighed over the statement, before any other member is read
    claims on anchors      made from carried trust material that chained to a pinned anchor: the
                           judge adds a `Considered` for each such piece (`Piece.store` is "trust"),
                           whose `weighed` stands at the claim's place in `ImagePolicy.on_images`,
                           "absent" elsewhere; scope, names, reports and refusals follow as for all
                           other evidence. Their `said` names no speaker: the anchor is who.
"""
