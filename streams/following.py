"""The values that come to a topic from now on."""

import threading
from collections.abc import Iterator

from streams.kafka import KafkaConnection, TopicPartition, open_consumer
from streams.topics import require_topics


def follow_from_end(connection: KafkaConnection, topic: str, stop: threading.Event) -> Iterator[bytes]:
    """Values of all partitions as they come, until ``stop`` is set; raises ``TopicError`` for no such topic.

    A broker that goes away is waited for.
    """
    n_partitions = require_topics(connection, topic)[topic].n_partitions
    partitions = [TopicPartition(topic, number) for number in range(n_partitions)]
    with open_consumer(connection, enable_auto_commit=False, reconnect_backoff_max_ms=1_000) as consumer:
        consumer.assign(partitions)
        for partition, end in consumer.end_offsets(partitions).items():
            consumer.seek(partition, end)
        while not stop.is_set():
            for records in consumer.poll(timeout_ms=200).values():
                yield from (record.value for record in records if record.value is not None)
