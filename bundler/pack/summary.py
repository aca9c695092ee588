"""What came of a pack, as a short list: image, digest, platforms, evidence, verdict, size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bundler.inspect import in_words
from bundler.second_opinion import SecondOpinion
from loader.model.fields import format_instant
from loader.model.strictjson import JsonObject
from loader.policy.facts import ImageJudgement, Judgement
from loader.report_claims import short_line, short_plain
from loader.verify.growth import Growth

SCHEMA: Final = "airlock-pack/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A bundle that was sealed."""

    judgement: Judgement
    path: Path
    size: int
    signature_count: int
    opinion: SecondOpinion
    notes: tuple[str, ...]
    logs: tuple[Growth, ...]
    """How logs grew, as the far side will see it."""
    warnings: tuple[str, ...]
    seconds: float

    def as_text(self) -> Iterator[str]:
        """Yield the lines that a person reads."""
        statement = self.judgement.statement
        for image in self.judgement.images:
            yield from _image(image)
        for claim in self.judgement.bundle.results:
            yield f"bundle    {short_line(claim)}"
        yield f"opinion   second opinion (sigstore-python): {self.opinion}"
        for log in self.logs:
            earlier = len(log.continues) - 1
            yield (
                f"log       {log.newest.origin}: {log.newest.size} leaves, continues "
                f"{earlier} earlier {'tree' if earlier == 1 else 'trees'}"
            )
        for note in self.notes:
            yield f"note      {note}"
        for warning in self.warnings:
            yield f"warning   {warning}"
        place = f", {statement.channel} {statement.sequence}" if statement.channel else ""
        signed = f", {self.signature_count} signatures" if self.signature_count != 1 else ", signed"
        yield f"sealed    {self.path}: {in_words(self.size)}{place}{signed}, {self.seconds:.1f} s"
        yield f"compare   {statement.digest} (SHA-256 of airlock.json)"

    def as_json(self) -> JsonObject:
        """Return the document of schema `airlock-pack/1`."""
        statement = self.judgement.statement
        return {
            "schema": SCHEMA,
            "bundle": str(statement.digest),
            "path": str(self.path),
            "size": self.size,
            "created": format_instant(statement.created),
            "channel": statement.channel,
            "sequence": statement.sequence,
            "signatures": self.signature_count,
            "images": [
                {
                    "reference": str(image.entry.reference),
                    "digest": str(image.entry.image.digest),
                    "platforms": [str(kept.platform) for kept in image.entry.platforms],
                    "evidence": dict(_stores(image)),
                    "claims": [short_plain(claim) for claim in image.claims],
                }
                for image in self.judgement.images
            ],
            "second_opinion": {
                "agreed": self.opinion.agreed,
                "cannot_judge": dict(self.opinion.silent),
            },
            "logs": [
                {
                    "log": log.newest.log,
                    "origin": log.newest.origin,
                    "size": log.newest.size,
                    "continues": [
                        tree.size for tree in sorted(log.continues) if tree != log.newest
                    ],
                }
                for log in self.logs
            ],
            "notes": list(self.notes),
            "warnings": list(self.warnings),
        }


def _image(image: ImageJudgement) -> Iterator[str]:
    yield f"image     {image.entry.reference}"
    yield f"  digest    {image.entry.image.digest}"
    platforms = ", ".join(str(kept.platform) for kept in image.entry.platforms)
    yield f"  platforms {platforms or 'an artifact'}"
    found = ", ".join(f"{count} {store}" for store, count in _stores(image).items())
    yield f"  evidence  {found or 'none'}"
    for claim in image.claims:
        yield f"  {short_line(claim)}"


def _stores(image: ImageJudgement) -> dict[str, int]:
    return dict(sorted(Counter(item.store for item in image.entry.evidence).items()))
