"""What came of a promotion, as a short list: verdict, what was copied, what became of each tag."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bundler.inspect import in_words
from bundler.promote.order import PromoteOrder
from bundler.promote.tags import TagStep
from bundler.registry.publication import Publication
from bundler.registry.publisher import Missing
from loader.model.strictjson import JsonObject
from loader.policy.facts import Judgement
from loader.report_claims import short_line, short_plain

SCHEMA: Final = "airlock-promote/1"
_WORDS: Final = {"set": "set", "move": "moved", "there": "is there", "left": "left where it is"}
_PLANNED: Final = {"set": "to be set", "move": "to be moved"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Promoted:
    """A promotion that was done, or one that was only looked at."""

    order: PromoteOrder
    judgement: Judgement
    publication: Publication
    missing: Missing
    """What the destination did not have before."""
    tags: tuple[TagStep, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def drifts(self) -> bool:
        """Whether the destination was, or is, another than was asked for."""
        return bool(self.missing) or any(step.writes for step in self.tags)

    @property
    def exit_status(self) -> int:
        """1 where a dry run found something to do, else 0."""
        return 1 if self.order.dry_run and self.drifts else 0

    def as_text(self) -> Iterator[str]:
        """Yield the lines that a person reads."""
        (image,) = self.judgement.images
        yield f"image     {self.order.source.reference}"
        yield f"  digest    {image.entry.image.digest}"
        for claim in image.claims:
            yield f"  {short_line(claim)}"
        yield f"to        {self.order.destination.name}"
        yield f"  {self._copied()}"
        if not self.order.dry_run:
            yield "  verified  again, from what the destination gives back"
        words = _WORDS | (_PLANNED if self.order.dry_run else {})
        for step in self.tags:
            yield f"  tag       {step.tag}: {words[step.doing]} ({step.why})"
        for note in self.notes:
            yield f"note      {note}"
        for warning in self.warnings:
            yield f"warning   {warning}"
        yield self._ending()

    def _copied(self) -> str:
        missing, dry = self.missing, self.order.dry_run
        if not missing:
            return "copied    nothing: all of it is there"
        size = in_words(sum(blob.size for blob in missing.blobs))
        parts = [
            f"{len(missing.blobs)} of {len(self.publication.blobs)} blobs ({size})",
            f"{len(missing.manifests)} of {len(self.publication.manifests)} manifests",
            f"{len(missing.attachments)} of {len(self.publication.attachments)} pieces of evidence",
        ]
        return f"{'missing' if dry else 'copied '}   {', '.join(parts)}"

    def _ending(self) -> str:
        if self.order.dry_run:
            return (
                "drift     the destination is not as asked; nothing was written (dry run)"
                if self.drifts
                else "same      the destination is as asked; nothing was written (dry run)"
            )
        name, digest = self.order.destination.name, self.publication.top.descriptor.digest
        word = "promoted " if self.drifts else "the same "
        return f"{word} {name}@{digest}, {self.seconds:.1f} s"

    def as_json(self) -> JsonObject:
        """Return the document of schema `airlock-promote/1`."""
        (image,) = self.judgement.images
        missing = self.missing
        return {
            "schema": SCHEMA,
            "source": str(self.order.source.reference),
            "destination": self.order.destination.name,
            "digest": str(self.publication.top.descriptor.digest),
            "dry_run": self.order.dry_run,
            "drift": self.drifts,
            "claims": [short_plain(claim) for claim in image.claims],
            "missing": {
                "blobs": [str(blob.digest) for blob in missing.blobs],
                "manifests": [str(one.descriptor.digest) for one in missing.manifests],
                "evidence": [str(one.document.descriptor.digest) for one in missing.attachments],
            },
            "tags": [{"tag": step.tag, "doing": step.doing, "why": step.why} for step in self.tags],
            "notes": list(self.notes),
            "warnings": list(self.warnings),
        }
