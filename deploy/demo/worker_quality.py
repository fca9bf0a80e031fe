"""What the worker itself has told of its snapshots' live quality, summed up from the topic."""

from collections import defaultdict
from typing import Final

from streams.kafka import KafkaConnection, TopicPartition, open_consumer
from streams.quality import Figures, decode_quality
from streams.topics import require_topics

POLL_MS: Final = 5_000


def told_by_worker(connection: KafkaConnection, topic: str) -> dict[str, dict[str, float]]:
    """Clicks compared, hit rate and MRR by snapshot, in the order in which they were told of first."""
    found: dict[str, Figures] = defaultdict(Figures)
    n_partitions = require_topics(connection, topic)[topic].n_partitions
    partitions = [TopicPartition(topic, number) for number in range(n_partitions)]
    with open_consumer(connection, enable_auto_commit=False) as consumer:
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        ends = consumer.end_offsets(partitions)
        while any(consumer.position(partition) < end for partition, end in ends.items()):
            polled = consumer.poll(timeout_ms=POLL_MS)
            if not polled:
                break
            for records in polled.values():
                for record in records:
                    if (window := decode_quality(record.value)) is not None:
                        found[window.snapshot] += window.figures
    return {
        version: {
            "clicks": figures.clicks,
            "hit_rate": round(figures.hit_rate, 4),
            "mrr": round(figures.mrr, 4),
        }
        for version, figures in found.items()
    }
