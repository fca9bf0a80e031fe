"""What a worker serves: the announced snapshot, swapped in while clicks are answered, and maybe a canary.

A thread follows the announcements and does everything slow: download, checksums, loading, self-test. The
swap itself is one assignment, which the worker sees between two batches. A canary has a thread of its own:
whatever its loading meets, production's snapshots are followed.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from prometheus_client import Gauge

from model.allocator import return_freed_memory
from streams.announcements import Announcement, AnnouncementFollower
from streams.kafka import KafkaConnection
from streams.metrics import WorkerMetrics
from streams.recommender import Recommender
from streams.snapshot import Snapshot, SnapshotError, load_snapshot

RETRY_S: Final = 30.0
RELEASE_AFTER_S: Final = 2.0
"""By then the last batch that began with the snapshot before has long ended."""

_log = logging.getLogger(__name__)


class Serving:
    """Holds the recommender in use for one alias.

    ``current`` is None until a first good snapshot was loaded. What is announced is tried first, then its
    previous version, then the last one that this worker served; a bad one is refused and the old serves on.
    As long as what is announced does not serve it is tried again every ``retry_s``, for the reason may pass:
    a store that was away, files that were late. Those refusals are counted once, and logged when the
    reason is another one.

    Without a ``last_good_file`` it is for a canary: nothing stands in for what is announced, since production
    does, and a null takes it out of service.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        topic: str,
        alias: str,
        *,
        make_recommender: Callable[[Snapshot], Recommender],
        last_good_file: Path | None,
        metrics: WorkerMetrics,
        retry_s: float = RETRY_S,
    ) -> None:
        self.current: Recommender | None = None
        self._alias = alias
        self._make_recommender = make_recommender
        self._last_good_file = last_good_file
        self._metrics = metrics
        self._retry_s = retry_s
        self._tried: Announcement | None = None
        self._given_up: str | None = None  # the version that failed at answering
        self._refusals: dict[str, str] = {}  # of what was tried: the last reason by location
        self._loaded = threading.Event()
        self._follower = AnnouncementFollower(
            connection, topic, alias, self._on_announcement, repeat_s=retry_s
        )

    def start(self) -> None:
        """Begin to follow the announcements."""
        self._follower.start()

    def stop(self) -> None:
        """Stop following; what is loaded stays."""
        self._follower.stop()

    def wait_for_snapshot(self, timeout_s: float) -> bool:
        """Wait until something can be served; tells whether it can."""
        return self._loaded.wait(timeout_s)

    def wait_until_tried(self, timeout_s: float) -> None:
        """Wait until what is announced was loaded, or refused, or nothing is."""
        self._follower.wait_caught_up(timeout_s)

    def give_up(self, version: str, reason: str) -> None:
        """Take a canary out of service that cannot answer; it stays out until another is announced."""
        if self._given_up != version:
            self._given_up = version
            self._metrics.refused.inc()
            _log.error("%s %s is given up, production answers its sessions: %s", self._alias, version, reason)
            if self.current is not None and self.current.snapshot.version == version:
                self._release()

    def _on_announcement(self, announcement: Announcement | None) -> bool:
        """Load what is announced, or else what comes next; tells whether it must be tried again."""
        if announcement is None:
            self._on_nothing_announced()
            return False
        first_try = announcement != self._tried
        if first_try:
            self._tried, self._refusals, self._given_up = announcement, {}, None
        if self._serves(announcement) or self._given_up == announcement.version:
            return False
        for location, manifest_sha256 in self._candidates(announcement):
            try:
                snapshot = load_snapshot(location, manifest_sha256=manifest_sha256)
                if location == announcement.location and snapshot.version != announcement.version:
                    raise SnapshotError(
                        f"snapshot {location} is refused: announced as {announcement.version}"
                    )
                self._swap(snapshot)
                break
            except SnapshotError as error:
                self._refuse(location, str(error))
        if self._is_canary and not self._serves(announcement):
            self._release()  # the canary before is not meant any more
        elif self.current is None and first_try:
            _log.error(
                "none of the snapshots known can be served; trying again every %g s and"
                " waiting for the next announcement",
                self._retry_s,
            )
        return not self._serves(announcement)

    def _on_nothing_announced(self) -> None:
        if not self._is_canary:
            _log.info("no snapshot is announced as %s yet", self._alias)
        elif self.current is not None:
            _log.info("%s %s is given back", self._alias, self.current.snapshot.version)
        self._tried = None
        if self._is_canary:
            self._release()

    @property
    def _is_canary(self) -> bool:
        return self._last_good_file is None

    def _serves(self, announcement: Announcement) -> bool:
        return self.current is not None and self.current.snapshot.version == announcement.version

    def _refuse(self, location: str, reason: str) -> None:
        if location not in self._refusals:
            self._metrics.refused.inc()
        if self._refusals.get(location) != reason:
            self._refusals[location] = reason
            _log.error("%s", reason)

    def _candidates(self, announcement: Announcement) -> list[tuple[str, str | None]]:
        """Give locations to try; once something serves, only what is announced can replace it."""
        candidates: list[tuple[str, str | None]] = [(announcement.location, announcement.manifest_sha256)]
        if self.current is not None or self._last_good_file is None:
            return candidates
        if announcement.previous_location is not None:
            candidates.append((announcement.previous_location, None))
        if self._last_good_file.is_file():
            last_good = self._last_good_file.read_text().strip()
            if last_good and last_good not in [location for location, _ in candidates]:
                candidates.append((last_good, None))
        return candidates

    def _swap(self, snapshot: Snapshot) -> None:
        before = self.current
        self.current = self._make_recommender(snapshot)
        self._loaded.set()
        self._release_later(before)
        if before is not None:
            self._serving_info.remove(before.snapshot.version)
        self._serving_info.labels(snapshot.version).set(1)
        if self._last_good_file is not None:
            self._metrics.snapshot_created.set(snapshot.manifest.created_ms / 1000)
            if before is not None:
                self._metrics.swaps.inc()
            try:
                self._last_good_file.write_text(snapshot.location)
            except OSError as error:  # it matters only to a restart after a bad announcement
                file = self._last_good_file
                _log.warning("which snapshot serves could not be noted in %s: %s", file, error)
        _log.info(
            "snapshot %s serves%s: %d items, %s index%s",
            snapshot.version,
            f" as {self._alias}" if self._is_canary else "",
            len(snapshot.vocabulary),
            snapshot.index.kind,
            f", before it {before.snapshot.version}" if before else "",
        )

    @property
    def _serving_info(self) -> Gauge:
        return self._metrics.canary if self._is_canary else self._metrics.snapshot

    def _release(self) -> None:
        """Serve nothing any more."""
        before, self.current = self.current, None
        if before is not None:
            with suppress(KeyError):  # by the event loop and by the follower in the same moment
                self._serving_info.remove(before.snapshot.version)
            self._release_later(before)

    def _release_later(self, recommender: Recommender | None) -> None:
        """Let go of it in a thread of its own: freeing a large snapshot must not fall to the event loop."""
        held = [recommender]

        def release() -> None:
            held.clear()
            return_freed_memory()

        timer = threading.Timer(RELEASE_AFTER_S, release)
        timer.daemon = True
        timer.start()
