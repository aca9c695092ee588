"""Every number that bounds hostile input: named, with its unit and its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds for one bundle. The defaults are the published ones; tests narrow them."""

    statement_size_max: int = 32 * MIB
    """Bytes of `airlock.json`: 180 for each member, so 186,000 of them."""
    statement_signature_count_max: int = 16
    statement_signature_size_max: int = 1 * MIB
    """A key signature has about 2 KiB, one with certificates and proofs about 12 KiB."""
    member_count_max: int = 200_000
    document_size_max: int = 5 * MIB
    """Bytes of an index, manifest or config; registries refuse manifests above 4 MiB."""
    evidence_size_max: int = 32 * MIB
    """Bytes of one piece of evidence: SBOM attestations reach 16 MiB (GitHub's own limit)."""
    image_evidence_size_max: int = 256 * MIB
    image_evidence_count_max: int = 2048
    """Pieces of evidence of one image: each costs milliseconds, however small. cosign adds a layer
    for every attestation: a scan a day for five years."""
    evidence_count_max: int = 65_536
    """The same of all images together, one by one, though they share it: what is found out about
    each piece stays in memory for the report, a kilobyte of it."""
    image_vex_word_count_max: int = 100_000
    """What VEX says of one image, counted as in one document: all of it is in memory at once, some
    600 bytes of each word. A document may have 20,000."""
    image_descriptor_count_max: int = 10_000
    image_count_max: int = 10_000
    graph_size_max: int = 32 * MIB
    """Bytes of all images' indexes, manifests and configs together: they stay in memory, with what
    they say, until the last image was judged. An image has about 20 KiB of them."""
    judged_size_spare: int = 256 * MIB
    """Bytes that the judge may read beyond eight times what there is: names that share an image
    share its evidence, and each is judged by all of it. What is small counts for 32 KiB, so these
    are 8,192 pieces of evidence: half a minute."""
    index_nesting_max: int = 3
    layer_count_max: int = 512
    json_depth_max: int = 64
    json_integer_digits_max: int = 19
    """2**63-1 has 19 digits; Python's own conversion grows with the square of the length."""
    json_value_count_max: int = 1_000_000
    """Commas and opening brackets of one document, those in its strings included: each may cost 200
    bytes and a microsecond once read. A statement of 32 MiB has 750,000, an SBOM of 16 MiB half."""
    json_key_count_max: int = 100_000
    """Keys of one object; the largest real ones map file names to digests."""
    json_kept_count_max: int = 250_000
    """Values kept of a predicate that is read in part; a package of an SBOM has about ten."""
    json_text_memory_max: int = 64 * MIB
    """Bytes of a document once decoded: four for every character where one is beyond U+FFFF."""
    log_entry_count_max: int = 32
    timestamp_count_max: int = 32
    proof_hash_count_max: int = 64
    """A Merkle path of 64 nodes reaches 2**64 leaves."""
    subject_count_max: int = 1024
    subject_digest_count_max: int = 32
    referrer_count_max: int = 64
    """Referrers examined per subject."""
    supplement_count_max: int = 64
    """Proofs that a packer added to one blob of evidence: a bundle has at most 32 entries."""
    supplement_size_max: int = 128 * KIB
    """Bytes of one such proof: a checkpoint, and at most 64 hashes."""
    log_tree_count_max: int = 1024
    """Earlier trees of one log that a bundle shows to be continued by its newest."""
    log_growth_count_max: int = 64
    """Logs of which a bundle shows how they grew; each costs a signature and its hashes."""
    log_growth_size_max: int = 4 * MIB
    """Bytes of that: a checkpoint, and for each tree at most some sixty hashes, usually thirty."""
    certificate_size_max: int = 64 * KIB
    certificate_chain_count_max: int = 10
    trusted_root_size_max: int = 5 * MIB
    tuf_root_size_max: int = 512_000
    """Bytes of TUF root metadata; with the three below what python-tuf's own client accepts."""
    tuf_timestamp_size_max: int = 16_384
    tuf_snapshot_size_max: int = 2_000_000
    tuf_targets_size_max: int = 5_000_000
    tuf_root_count_max: int = 256
    """Roots that one bundle carries: Sigstore has made 15 in five years."""
    tuf_delegation_count_max: int = 32
    """Targets roles that are looked into for one target."""
    tuf_key_count_max: int = 1024
    """Keys that one root or delegation names; a signature by each may have to be verified."""
    tuf_target_size_max: int = 5 * MIB
    policy_size_max: int = 1 * MIB
    window_log_max: int = 23
    """zstd window of at most 8 MiB: what level 19 without `--long` uses."""
    frame_size_max: int = 64 * MIB
    """Bytes that one zstd frame holds."""
    frame_size_min: int = 64 * KIB
    """Below this a frame is short: to set up a decompressor costs about what so many bytes do."""
    short_frame_count_max: int = 3
    """One behind the statement, one behind the metadata, the last."""
    metadata_size_max: int = 2 * GIB
    """Bytes of all small members together: they are read before any signature was seen to hold."""
    annotation_count_max: int = 1024
    name_length_max: int = 255
    """Characters of a repository's full name (distribution specification)."""
    checkpoint_size_max: int = 64 * KIB
    """Bytes of a log's signed note; with a hundred witnesses it has about 15 KiB."""
    checkpoint_signature_count_max: int = 100
    """Signature lines of one note (golang.org/x/mod/sumdb/note reads no more either)."""
    signature_size_max: int = 8 * KIB
    """Bytes of one signature: RSA-4096 has 512, a timestamp's is elsewhere."""
    envelope_signature_count_max: int = 16
    """Signatures in one DSSE envelope; cosign and every bundle have one."""
    timestamp_size_max: int = 64 * KIB
    """Bytes of one RFC 3161 response; with a chain embedded it has about 5 KiB."""
    trusted_root_authority_count_max: int = 256
    """Logs, or authorities of one kind, in one trusted root."""
    notary_root_size_max: int = 512 * KIB
    """Bytes of one root of a Notary repository; with three roots' keys it has 4 KiB."""
    notary_timestamp_size_max: int = 64 * KIB
    """Bytes of its timestamp, which names one file."""
    notary_snapshot_size_max: int = 2 * MIB
    notary_repository_size_max: int = 8 * MIB
    """Bytes of all files of one repository together: they are in memory while it is judged, at some
    ten bytes for each. A repository of 5,000 tags has 1 MiB."""
    notary_root_count_max: int = 256
    """Roots of one repository: a rotation of keys each."""
    notary_role_count_max: int = 256
    """Roles of one repository, one for each signer; docker.io's largest have a few dozen."""
    notary_key_count_max: int = 256
    """Keys of one document, and signatures of one."""
    layer_expanded_size_max: int = 64 * GIB
    """Bytes of one decompressed layer when its diff_id is checked."""
    metadata_memory_max: int = 32 * MIB
    """Bytes of small members in memory; what goes beyond waits in an unlinked file."""


DEFAULT_LIMITS: Final = Limits()
STATE_LIMITS: Final = Limits(
    json_value_count_max=100_000_000, json_key_count_max=10_000_000, json_text_memory_max=4 * GIB
)
"""For what this host wrote itself: a memory that grows for years must never become unreadable."""
