"""What a worker counts and measures, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from streams.steps import Step

_LATENCY_BUCKETS = (
    0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60,
)  # fmt: skip
_STAGE_BUCKETS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 10)
_BATCH_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class WorkerMetrics:
    """All series of one worker, in a registry of their own: no global state, so tests can have many."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"nextclick_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"nextclick_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"nextclick_{name}", text, labels, buckets=buckets, registry=registry)

        self.clicks = counter("clicks", "Clicks applied to a session")
        self.rejected = counter("rejected_clicks", "Records rejected, by reason", "reason")
        self.replays = counter("replays_skipped", "Clicks delivered again and skipped")
        self.answers = counter("answers", "Recommendations delivered, by source", "source")
        self.rebuilt = counter("sessions_rebuilt", "Sessions rebuilt from their last items after a swap")
        self.expired = counter("sessions_expired", "Idle sessions removed")
        self.unreadable = counter("sessions_unreadable", "Stored sessions that could not be read")
        self.swaps = counter("snapshot_swaps", "Snapshots swapped in while serving")
        self.refused = counter("snapshots_refused", "Announced snapshots that were refused")
        self.abandoned = counter("batches_abandoned", "Batches given up because their partitions moved on")
        self.fetched_again = counter("fetches_repeated", "Fetches repeated since clicks had not arrived")
        self.batch_size = histogram("batch_clicks", "Records in a micro-batch", _BATCH_BUCKETS)
        stage = histogram("stage_seconds", "Time of each stage of a batch", _STAGE_BUCKETS, "stage")
        self.stages = {step: stage.labels(step) for step in Step}
        self.latency = histogram(
            "latency_seconds", "From a click's append to its recommendation's delivery", _LATENCY_BUCKETS
        )
        self.snapshot = gauge("snapshot_info", "1 for the version that serves", "version")
        self.canary = gauge("canary_info", "1 for the version that serves a share of the sessions", "version")
        self.decisions = counter(
            "snapshot_decisions", "Announcements made by what live quality says, by alias", "alias"
        )
        self.snapshot_created = gauge("snapshot_created_seconds", "When the snapshot was built, Unix seconds")
        self.snapshot_age = gauge("snapshot_age_seconds", "Age of the snapshot that serves")
        self.fresh_items = gauge(
            "fresh_items", "Items clicked that the snapshot does not know, held to be recommended"
        )
        self.compared = counter(
            "quality_clicks", "Clicks compared with the list shown before, by its snapshot", "version"
        )
        self.hits = counter("quality_hits", "Those of them that were among its first 20 items", "version")
        self.reciprocal_ranks = counter(
            "quality_reciprocal_ranks", "Sum of 1 / rank of these; over the clicks it is MRR@20", "version"
        )
        self.drift = gauge("drift", "How far the newest clicks are from the snapshot's, by figure", "figure")
        self.drift_alarm = gauge("drift_alarm", "1 while a figure of drift is over its limit", "figure")
        self.drift_alarms = counter("drift_alarms", "Limits of drift that were crossed, by figure", "figure")
        self.lag = gauge("lag_clicks", "Clicks that wait, by partition", "partition")
        self.partitions = gauge("partitions", "Partitions that this worker serves")
        self.last_ending = gauge("last_ending_info", "1 for how the worker before this one ended", "ending")
        self.ready = gauge("ready", "1 while the worker serves")
