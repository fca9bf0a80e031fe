"""Faust's app, wired for the worker: its settings with their reasons, its consumer, its way of stopping."""

from typing import Any

import faust

from streams.intake import BatchTransport
from streams.kafka import KafkaConnection
from streams.table import PromptTables
from streams.worker_config import WorkerConfig


class WorkerApp(faust.App):  # type: ignore[misc]
    """Faust's app with batches coming in, and its wait for running work bounded and followed by a commit."""

    worker: Any  # what answers: starts and stops with the app, settles before partitions go

    def _new_transport(self) -> BatchTransport:
        return BatchTransport(self.conf.broker_consumer, self)

    async def on_start(self) -> None:
        """Start what answers."""
        await super().on_start()
        await self.worker.on_start()

    async def on_stop(self) -> None:
        """Stop what answers, after the consumer."""
        await super().on_stop()
        await self.worker.on_stop()

    async def _consumer_wait_empty(self, consumer: Any, logger: Any) -> None:
        await self.worker.settle()
        await consumer.commit_and_end_transactions()


def build_app(config: WorkerConfig, worker: Any) -> WorkerApp:
    """Build the app that ``worker`` declares its agent on."""
    connection = config.connection
    (config.folder / "faust").mkdir(parents=True, exist_ok=True)
    app = WorkerApp(
        config.group,
        broker=";".join(f"kafka://{server}" for server in connection.bootstrap_servers.split(",")),
        broker_credentials=_credentials(connection),
        broker_client_id=f"{config.group}-{config.name}",
        consumer_group_instance_id=config.name,
        consumer_auto_offset_reset="earliest",
        broker_session_timeout=config.session_timeout_s,
        broker_heartbeat_interval=config.heartbeat_s,
        broker_rebalance_timeout=30.0,
        broker_request_timeout=30.0,
        broker_commit_interval=config.commit_interval_s,
        broker_max_poll_records=1000,
        stream_buffer_maxsize=8,  # fetched batches, not records
        stream_wait_empty=False,  # waits for ever for what was not acknowledged; see WorkerApp
        stream_recovery_delay=0.0,
        agent_supervisor="mode.CrashingSupervisor",
        store="rocksdb://",
        datadir=config.folder / "faust",
        TableManager=PromptTables,
        table_standby_replicas=0,
        topic_allow_declare=False,  # topics are made and checked by nextclick topics
        topic_disable_leader=True,
        web_enabled=False,  # its routes serve the table's contents
        worker_redirect_stdouts=False,
        autodiscover=False,
        key_serializer="raw",
        value_serializer="raw",
    )
    app.worker = worker

    async def assigned(app: faust.App, assigned: Any, **_: Any) -> None:
        worker.on_assigned()

    async def recovered(app: faust.App, **_: Any) -> None:
        worker.on_recovered()

    app.on_partitions_assigned.connect(assigned, weak=False)
    app.on_rebalance_complete.connect(recovered, weak=False)  # before clicks flow again
    return app


def _credentials(connection: KafkaConnection) -> Any:
    context = connection.ssl_context()
    if connection.uses_sasl:
        return faust.SASLCredentials(
            username=connection.sasl_username,
            password=connection.sasl_password,
            mechanism=connection.sasl_mechanism or "PLAIN",
            ssl_context=context,
        )
    return None if context is None else faust.SSLCredentials(context)
