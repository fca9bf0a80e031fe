"""What a benchmark's worker serves: a catalogue of some size, and the snapshot of it."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import say, telling
from benchmarks.snapshots import make_snapshot
from benchmarks.vectors import Catalogue, Trained, catalogue_of
from streams.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Served:
    """A catalogue and its snapshot."""

    catalogue: Catalogue
    snapshot: Snapshot

    def named(self) -> dict[str, object]:
        """For the lines of a table."""
        return {"items": self.catalogue.encoder.n_items, "index": self.snapshot.manifest.index_kind}


def serve(work: Path, trained: Trained, n_items: int) -> Served:
    """Make them, or read them where they were made before; a million items take minutes the first time."""
    with telling(f"preparing {n_items:,} items"):
        catalogue = catalogue_of(trained, n_items)
        return Served(catalogue, make_snapshot(work, trained, catalogue, say))
