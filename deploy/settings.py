"""Every setting of the product: what it means, what it may be, its default.

Defaults < ``nextclick.toml`` in the current folder < ``NEXTCLICK_…`` environment < command-line flags.
``docs/settings.md`` is printed from here by ``nextclick settings --markdown``, and a test compares the two.
"""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from streams.drift import DriftLimits
from streams.errors import NextclickError
from streams.kafka import KafkaConnection
from streams.topics import TopicNames

ENV_PREFIX = "NEXTCLICK_"
FILE_NAME = "nextclick.toml"
MAX_UNITS_IN_ALL = 512

_NAME = r"^[A-Za-z0-9._-]{1,200}$"
_NAME_MAY_BE = "1 to 200 letters, digits, '.', '_' or '-'"
_ADDRESS = r"(\[[0-9a-fA-F:]+\]|[^\s,:/]+):\d{1,5}"
_ADDRESSES = rf"^{_ADDRESS}(,{_ADDRESS})*$"


class SettingsError(NextclickError):
    """A setting that cannot be used, named together with its value and what it may be."""


def _setting(default: Any, group: str, description: str, may_be: str | None = None, **limits: Any) -> Any:
    extra: dict[str, Any] = {"group": group} | ({"may_be": may_be} if may_be else {})
    return Field(default, description=description, json_schema_extra=extra, **limits)


def _kafka(default: Any, description: str, may_be: str | None = None, **limits: Any) -> Any:
    return _setting(default, "Kafka", description, may_be, **limits)


def _topic(default: str, description: str) -> Any:
    return _setting(default, "Topics", description, _NAME_MAY_BE, pattern=_NAME)


def _serving(default: Any, description: str, may_be: str | None = None, **limits: Any) -> Any:
    return _setting(default, "Serving", description, may_be, **limits)


def _training(default: Any, description: str, may_be: str | None = None, **limits: Any) -> Any:
    return _setting(default, "Training", description, may_be, **limits)


def _drift(default: Any, description: str, may_be: str | None = None, **limits: Any) -> Any:
    return _setting(default, "Drift", description, may_be, **limits)


def _gate(default: Any, description: str, may_be: str | None = None, **limits: Any) -> Any:
    return _setting(default, "Gate", description, may_be, **limits)


def _some_of(*names: str) -> str:
    one = f"({'|'.join(names)})"
    return f"^{one}(,{one})*$"


class Settings(BaseSettings):
    """All settings, checked; make one with ``deploy.settings_sources.load_settings``."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_ignore_empty=True, extra="forbid", frozen=True, allow_inf_nan=False
    )

    home: Path = _setting(
        Path(".nextclick"),
        "Files",
        "Folder of all local files: the local broker's data, workers, snapshots.",
        "a folder",
    )
    snapshots: str | None = _setting(
        None,
        "Files",
        "Where snapshots are kept; `snapshots` in the home folder unless set.",
        "a folder, or a URL that fsspec opens (s3://…)",
    )
    keep_snapshots: int = _setting(5, "Files", "How many of the newest snapshots a trainer keeps.", ge=1)
    archive: str | None = _setting(
        None,
        "Files",
        "Where clicks are archived, and trained on from before what Kafka keeps; nowhere unless set.",
        "a folder, or a URL that fsspec opens (s3://…)",
    )

    bootstrap_servers: str = _kafka(
        "127.0.0.1:9092",
        "Kafka's addresses. Once set, no local broker is started: this cluster is used.",
        "host:port, several separated by commas",
        pattern=_ADDRESSES,
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = _kafka(
        "PLAINTEXT", "What the brokers' listener speaks."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = _kafka(
        None, "How to log in; needed with SASL_PLAINTEXT and SASL_SSL."
    )
    sasl_username: str | None = _kafka(None, "The user to log in as.", "a user name")
    sasl_password: SecretStr | None = _kafka(
        None, "The password; on a shared machine better in a file.", "a password"
    )
    sasl_password_file: Path | None = _kafka(None, "A file that holds only the password.", "a file")
    ssl_cafile: Path | None = _kafka(None, "Certificates of the authorities to trust, PEM.", "a file")
    ssl_certfile: Path | None = _kafka(None, "The client's own certificate, PEM.", "a file")
    ssl_keyfile: Path | None = _kafka(None, "The key of the client's certificate, PEM.", "a file")

    clicks_topic: str = _topic("clicks", "Where clicks come from.")
    recommendations_topic: str = _topic("recommendations", "Where recommendations go.")
    rejected_clicks_topic: str = _topic("rejected-clicks", "Where records go that are no valid clicks.")
    snapshots_topic: str = _topic("snapshots", "Where trainers announce snapshots to workers.")
    quality_topic: str = _topic("quality", "Where workers tell how well their recommendations do.")
    clicks_partitions: int = _setting(
        8, "Topics", "Partitions of a new clicks topic: as many workers can share it.", ge=1, le=10_000
    )

    group: str = _serving(
        "nextclick", "The workers' consumer group; names their changelog too.", _NAME_MAY_BE, pattern=_NAME
    )
    alias: str = _serving(
        "production", "Which announced snapshot to serve and to train.", _NAME_MAY_BE, pattern=_NAME
    )
    top_k: int = _serving(20, "Items in a recommendation.", ge=1, le=1_000)
    repeat_items: Literal["not-last", "all", "none"] = _serving(
        "not-last",
        "Which of the session's own items may be recommended: all but the one just clicked, all, none.",
    )
    ranking: Literal["nextclick", "lstm"] = _serving(
        "nextclick",
        "What orders an answer: all that the snapshot has learnt, or its LSTM alone, which takes less time.",
    )
    answer: Literal["every", "latest"] = _serving(
        "every",
        "Which clicks are answered: all, or of a session's clicks that are taken together only the newest.",
    )
    fresh_items: int = _serving(
        2_000,
        "Items that the snapshot does not know yet and that a worker learns to recommend from clicks:"
        " so many, those clicked last; 0 for none.",
        ge=0,
        le=100_000,
    )
    fresh_min_sessions: int = _serving(
        1, "How many sessions must have clicked such an item before others get it.", ge=1
    )
    session_gap_minutes: float = _serving(30, "Pause after which a session starts afresh.", gt=0)
    session_expiry_hours: float = _serving(
        24, "How long an idle session is kept, by the arrival of clicks.", gt=0
    )
    start_at: Literal["gap", "earliest", "latest"] = _serving(
        "gap",
        "Where a new group begins: at clicks that arrived within the session gap, at the first, at new ones.",
    )
    max_batch: int = _serving(500, "Most clicks answered together.", ge=1, le=100_000)
    watchdog_seconds: float = _serving(60, "A worker that lags and stands still this long ends itself.", gt=0)
    recovery_deadline_seconds: float = _serving(
        60, "A worker whose recovery stands still this long ends itself.", gt=0
    )
    stop_wait_seconds: float = _serving(
        10, "How long the batch in hand may take to finish on a stop or rebalance.", ge=0
    )
    metrics_host: str = _serving(
        "127.0.0.1", "Address that /live, /ready and /metrics listen on.", "an address"
    )
    metrics_port: int = _serving(
        0, "Port of /live, /ready and /metrics; 0 takes a free one.", ge=0, le=65_535
    )

    canary_share: float = _serving(
        0.1, "Share of the sessions that the snapshot announced as canary serves.", ge=0, le=0.5
    )
    canary_action: Literal["rollback", "promote", "none"] = _serving(
        "rollback",
        "What follows for a canary from its live quality: given back when worse, also promoted when not, or"
        " nothing.",
    )
    canary_clicks: int = _serving(
        2_000, "Fewer clicks than this never promote a canary.", ge=1, le=100_000_000
    )
    production_action: Literal["rollback", "none"] = _serving(
        "rollback",
        "What follows where the live quality of a new production snapshot falls by over half within"
        " minutes: back to the one before, or nothing.",
    )

    window_days: float = _training(7, "Clicks that arrived in this many last days are trained on.", gt=0)
    min_clicks: int = _training(1_000, "Fewer clicks than this are not trained on.", ge=1)
    min_sessions: int = _training(200, "Fewer sessions than this are not trained on.", ge=1)
    cell: Literal["lstm", "gru", "rnn"] | None = _training(None, "The recurrent network's kind of cell.")
    units: int | None = _training(None, "Width of the recurrent network.", ge=1, le=512)
    layers: int | None = _training(None, "Its layers.", ge=1, le=8)
    dropout_embedding: float | None = _training(None, "Dropout of the items' vectors.", ge=0, lt=1)
    dropout_hidden: float | None = _training(None, "Dropout after each layer.", ge=0, lt=1)
    click_context: str | None = _training(
        None,
        "What of a click is used beside its item: its kind, the time since the click before, the hour (UTC).",
        "some of kind, gap, hour, separated by commas",
        pattern=_some_of("kind", "gap", "hour"),
    )
    click_context_at: str | None = _training(
        None,
        "Where that acts: beside the input, as a factor of the input, of the hidden state, of the output.",
        "some of concat, product, recurrence, output, separated by commas",
        pattern=_some_of("concat", "product", "recurrence", "output"),
    )
    loss: Literal["cross-entropy", "bpr", "bpr-max", "top1", "top1-max"] | None = _training(
        None, "What training minimises."
    )
    negatives: int | None = _training(
        None, "Items drawn beside a batch's own, in large catalogues.", ge=0, le=1_000_000
    )
    epochs: int | None = _training(None, "Passes through the clicks.", ge=1, le=1_000)
    batch_size: int | None = _training(None, "Sessions trained side by side.", ge=1, le=100_000)
    learning_rate: float | None = _training(None, "Step of the optimiser.", gt=0)
    seed: int | None = _training(None, "Start of the random numbers.", ge=0)
    rehearsed_clicks: int = _training(
        100_000, "About so many older clicks are gone through once more in a refresh.", ge=0
    )

    gate_max_loss: float = _gate(
        0.02, "Share of what serves' Recall@20 and MRR@20 that a new snapshot may lack.", ge=0, le=1
    )
    gate_index_recall: float = _gate(
        0.99, "Least share of the exact best 20 its index must find.", ge=0, le=1
    )
    gate_megabytes: float = _gate(4_000, "Most megabytes of a snapshot.", gt=0)
    gate_latency_ms: float = _gate(20, "Most milliseconds of CPU for one recommendation.", gt=0)

    drift_window_clicks: int = _drift(20_000, "About so many of the newest clicks are looked at.", ge=1_000)
    drift_popularity: float = _drift(
        0.3, "Highest Jensen-Shannon distance between what is clicked and what was trained on.", gt=0, le=1
    )
    drift_unknown: float = _drift(0.1, "Highest share of clicks on items of no snapshot.", gt=0, le=1)
    drift_scores: float = _drift(0.25, "Highest population stability index of the best items' scores.", gt=0)
    drift_quality: float = _drift(0.2, "Highest share of the usual hit rate that may be missing.", gt=0, le=1)

    @model_validator(mode="after")
    def _login_is_complete(self) -> Self:
        uses_sasl = self.security_protocol.startswith("SASL_")
        login = {
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_username": self.sasl_username,
            "sasl_password or sasl_password_file": self.sasl_password or self.sasl_password_file,
        }
        for name, value in login.items():
            if uses_sasl and value is None:
                raise ValueError(f"security_protocol = {self.security_protocol} needs {name} too")
        if not uses_sasl and self.sasl_mechanism is not None:
            wanted = "SASL_PLAINTEXT or SASL_SSL"
            raise ValueError(f"sasl_mechanism = {self.sasl_mechanism} needs security_protocol = {wanted} too")
        if self.sasl_password is not None and self.sasl_password_file is not None:
            raise ValueError("sasl_password and sasl_password_file are both set; keep one of them")
        return self

    @model_validator(mode="after")
    def _state_fits_a_record(self) -> Self:
        # Two numbers of two bytes per unit: half of the record's hard limit, the other half is the items'.
        if (self.units or 100) * (self.layers or 1) > MAX_UNITS_IN_ALL:
            raise ValueError(
                f"units = {self.units} in layers = {self.layers} do not fit a session's record;"
                f" units times layers may be {MAX_UNITS_IN_ALL} at most"
            )
        return self

    @property
    def names_a_cluster(self) -> bool:
        """Whether somebody said where Kafka is, so that no local broker is to be started."""
        return "bootstrap_servers" in self.model_fields_set

    @property
    def snapshots_location(self) -> str:
        """The folder or URL that snapshots are kept in."""
        return self.snapshots if self.snapshots is not None else str(self.home / "snapshots")

    def topics(self) -> TopicNames:
        """Return the names of all topics."""
        return TopicNames(
            clicks=self.clicks_topic,
            recommendations=self.recommendations_topic,
            rejected_clicks=self.rejected_clicks_topic,
            snapshots=self.snapshots_topic,
            sessions_changelog=f"{self.group}-sessions-changelog",
            quality=self.quality_topic,
        )

    def drift_limits(self) -> DriftLimits:
        """Return from where on drift is an alarm."""
        return DriftLimits(self.drift_popularity, self.drift_unknown, self.drift_scores, self.drift_quality)

    def connection(self) -> KafkaConnection:
        """Return how to reach Kafka; raises SettingsError if the password's file cannot be read."""
        return KafkaConnection(
            bootstrap_servers=self.bootstrap_servers,
            security_protocol=self.security_protocol,
            sasl_mechanism=self.sasl_mechanism,
            sasl_username=self.sasl_username,
            sasl_password=self._password(),
            ssl_cafile=_text(self.ssl_cafile),
            ssl_certfile=_text(self.ssl_certfile),
            ssl_keyfile=_text(self.ssl_keyfile),
        )

    def _password(self) -> str | None:
        if self.sasl_password_file is None:
            return self.sasl_password.get_secret_value() if self.sasl_password is not None else None
        try:
            return self.sasl_password_file.expanduser().read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"sasl_password_file = {self.sasl_password_file} cannot be read: {error}"
            ) from error


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path.expanduser())
