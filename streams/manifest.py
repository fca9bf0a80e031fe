"""What a snapshot's folder holds: its files by name, and the manifest that promises them.

The manifest is written last and names every other file with size and SHA-256, so a folder without a manifest
does not exist, and a folder with one is complete or refused.
"""

import hashlib
from pathlib import Path
from typing import Any, Final

import msgspec

from streams.errors import NextclickError

FORMAT_VERSION: Final = 1
ENCODER_FILE: Final = "encoder.safetensors"
ITEMS_FILE: Final = "items.parquet"
INDEX_FILE: Final = "index.faiss"
MANIFEST_FILE: Final = "manifest.json"
RANKING_FILE: Final = "ranking.safetensors"
BUNDLE_FILES: Final = (ENCODER_FILE, ITEMS_FILE, INDEX_FILE)
"""In every bundle. One of them may hold a `RANKING_FILE` besides; before there was a ranking none did."""


class SnapshotError(NextclickError):
    """A snapshot is absent or is refused: the text names the bundle and the reason."""


class SnapshotUnreachable(SnapshotError):
    """The place of a snapshot does not answer, which says nothing of the snapshot."""


class FileDigest(msgspec.Struct, frozen=True):
    """Size and SHA-256 of one file of the bundle."""

    bytes: int
    sha256: str


class OffsetRange(msgspec.Struct, frozen=True):
    """The offsets of one partition that a model was trained on; ``end`` is the first one left out."""

    partition: int
    start: int
    end: int


class TrainingWindow(msgspec.Struct, frozen=True):
    """What a model was trained on.

    ``first_ms`` and ``until_ms`` are the arrivals of the oldest and the newest click that was read. The
    network itself was trained on the sessions that ended until ``learnt_until_ms``: later ones were kept for
    the gate, and only the links between items know them.
    """

    topic: str | None = None
    from_ms: int | None = None
    offsets: list[OffsetRange] = []
    history: list[str] = []
    n_clicks: int = 0
    n_sessions: int = 0
    first_ms: int | None = None
    until_ms: int | None = None
    learnt_until_ms: int | None = None


class LengthFigures(msgspec.Struct, frozen=True):
    """Recall@20 of candidate and serving snapshot on the sessions of one length."""

    length: str
    targets: int
    candidate: float
    serving: float
    low: float
    high: float


class Verdict(msgspec.Struct, frozen=True):
    """What the gate found of a candidate, and whether it may be announced.

    Attributes:
        accepted: nothing speaks against it.
        forced: it was announced although something does.
        reasons: what speaks against it, a line each.
        serving: the snapshot that it was compared with, None where none served.
        compared_on: which sessions both answered.
        targets: how many clicks were foretold.
        candidate, served: figures of both on these.
        difference: of each figure the candidate's less the serving one's, and the ends of its 95 % interval.
        by_length: the same for sessions of each length.
        index_recall: share of the exact best 20 that the saved index finds.
        megabytes: size of the bundle.
        latency_ms: CPU time of one recommendation, the median.
    """

    accepted: bool
    forced: bool = False
    reasons: list[str] = []
    serving: str | None = None
    compared_on: str = ""
    targets: int = 0
    candidate: dict[str, float] = {}
    served: dict[str, float] = {}
    difference: dict[str, tuple[float, float, float]] = {}
    by_length: list[LengthFigures] = []
    index_recall: float | None = None
    megabytes: float | None = None
    latency_ms: float | None = None

    @property
    def refused(self) -> bool:
        """Whether nobody is to serve it."""
        return not self.accepted and not self.forced


class Provenance(msgspec.Struct, frozen=True):
    """Where a snapshot comes from and what was measured of it.

    ``metrics_of`` says which model the metrics belong to: the one trained without the newest sessions
    that they were measured on, before it was trained through those too. ``kind`` is ``full`` where the model
    was trained from the start and ``refresh`` where it went on from its parent; ``gate`` is None in bundles
    from before there was one, and in those that no trainer made.
    """

    parent: str | None = None
    kind: str = "full"
    window: TrainingWindow = TrainingWindow()
    metrics: dict[str, float] = {}
    metrics_of: str = ""
    index_recall: float | None = None
    gate: Verdict | None = None

    def is_refresh_of(self, version: str) -> bool:
        """Whether the model is that version's, gone on with newer clicks."""
        return self.kind == "refresh" and self.parent == version


class Manifest(msgspec.Struct, frozen=True):
    """The bundle's contents and history; its own SHA-256 travels in the announcement."""

    version: str
    created_ms: int
    n_items: int
    index_kind: str
    encoder: dict[str, Any]
    files: dict[str, FileDigest]
    provenance: Provenance
    format_version: int = FORMAT_VERSION

    @property
    def refused(self) -> bool:
        """Whether the trainer's gate refused it: kept to be looked at, and for nobody to serve."""
        return self.provenance.gate is not None and self.provenance.gate.refused

    @property
    def megabytes(self) -> float:
        """Size of the bundle."""
        return sum(digest.bytes for digest in self.files.values()) / 1e6


def digest_of(path: Path) -> FileDigest:
    """Read a file for its size and SHA-256."""
    with path.open("rb") as file:
        return FileDigest(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def read_manifest(folder: Path, promised_sha256: str | None) -> tuple[Manifest, str]:
    """The folder's manifest and its SHA-256, which must be the promised one; raises SnapshotError."""
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise SnapshotError(f"it has no {MANIFEST_FILE}")
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    if promised_sha256 is not None and sha256 != promised_sha256:
        raise SnapshotError(f"the SHA-256 of its {MANIFEST_FILE} is not the announced one")
    try:
        found = msgspec.json.decode(content, type=dict[str, Any]).get("format_version")
        if found != FORMAT_VERSION:
            raise SnapshotError(f"its format version is {found}, this program reads {FORMAT_VERSION}")
        manifest = msgspec.json.decode(content, type=Manifest)
    except msgspec.MsgspecError as error:
        raise SnapshotError(f"its {MANIFEST_FILE} cannot be read: {error}") from error
    if missing := set(BUNDLE_FILES) - set(manifest.files):
        raise SnapshotError(f"its {MANIFEST_FILE} does not name {', '.join(sorted(missing))}")
    return manifest, sha256


def check_file(path: Path, promised: FileDigest) -> None:
    """Raise SnapshotError where a file is not what the manifest promised."""
    if not path.is_file():
        raise SnapshotError(f"{path.name} is missing")
    if (size := path.stat().st_size) != promised.bytes:
        raise SnapshotError(f"{path.name} has {size} bytes, its manifest says {promised.bytes}")
    if digest_of(path).sha256 != promised.sha256:
        raise SnapshotError(f"the SHA-256 of {path.name} is not the one in its manifest")
