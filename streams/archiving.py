"""``clicks`` into its archive, exactly once by offsets: from where the files end to where the topic ends now.

No consumer group says how far the archive is; its files do. Whoever is killed leaves whole files, and the
next one goes on at their end.
"""

import threading
from dataclasses import dataclass

from streams.archive import ArchiveError, Gap
from streams.archive_reading import ArchiveReader
from streams.archive_store import ArchiveStore
from streams.archive_writer import ArchiveWriter
from streams.clicklog import OnRead, open_log, read_records
from streams.kafka import KafkaConnection, TopicPartition
from streams.topics import TopicState, require_append_time, require_topics


@dataclass(frozen=True, slots=True)
class ArchivedNow:
    """What one round has added; ``gaps`` are offsets that Kafka deleted before it came.

    ``made_anew`` says that the archive holds clicks of another topic of this name, and none of this one yet.
    """

    n_clicks: int
    n_rejected: int
    n_files: int
    gaps: tuple[Gap, ...]
    made_anew: bool
    stopped: bool


def archive_clicks(
    connection: KafkaConnection,
    topic: str,
    store: ArchiveStore,
    *,
    stop: threading.Event | None = None,
    on_progress: OnRead | None = None,
) -> ArchivedNow:
    """Archive what the topic holds up to its end offsets of now; ``stop`` ends it early, with what was read.

    Two at once do no harm: both write the same records, and readers take each offset once. Raises
    ``TopicError``, ``ClickLogError``, ``BrokerUnreachable``, and ``ArchiveError`` where files cannot be
    written or the topic is made anew meanwhile. Where files are missing in between, because they were
    damaged and removed, it goes on before them if the topic still has what stood there.
    """
    stop = stop or threading.Event()
    state = require_topics(connection, topic)[topic]
    require_append_time(connection, topic)
    topic_id = str(state.topic_id)
    reader = ArchiveReader(store)
    begun = topic_id in reader.topic_ids()
    gaps: list[Gap] = []
    with open_log(connection) as consumer:
        partitions = [TopicPartition(topic, number) for number in range(state.n_partitions)]
        ends = consumer.end_offsets(partitions)
        starts = consumer.beginning_offsets(partitions)
        last = reader.last_before_gaps(topic_id, {one.partition: start for one, start in starts.items()})
        writer = ArchiveWriter(store, topic_id, last, before_write=lambda: _check_same(connection, state))
        offsets = {}
        for partition in partitions:
            number = partition.partition
            # Without a file nothing was archived here, whatever other partitions have: the first round may
            # have been killed between two of them, with the oldest clicks long deleted.
            expected = last[number].end if number in last else starts[partition]
            writer.begin_at(number, expected)
            gaps += _skip_deleted(writer, number, starts[partition])
            offsets[number] = (writer.end(number), ends[partition])
        for number, records in read_records(consumer, topic, offsets, on_progress):
            if records and records[0].offset > writer.end(number):
                partition = TopicPartition(topic, number)
                start = consumer.beginning_offsets([partition])[partition]
                gaps += _skip_deleted(writer, number, min(start, records[0].offset))
            writer.take(number, records)
            if stop.is_set():
                break
        writer.write_all()
    return ArchivedNow(
        n_clicks=writer.n_clicks,
        n_rejected=writer.n_rejected,
        n_files=writer.n_files,
        gaps=tuple(gaps),
        made_anew=not begun and bool(reader.topic_ids()),
        stopped=stop.is_set(),
    )


def _skip_deleted(writer: ArchiveWriter, partition: int, start: int) -> list[Gap]:
    """Go on at the topic's first offset where that lies past what is expected next."""
    expected = writer.end(partition)
    if start <= expected:
        return []
    writer.begin_at(partition, start)
    return [Gap(partition, expected, start)]


def _check_same(connection: KafkaConnection, state: TopicState) -> None:
    """Refuse to write what may be of another topic. Ids are unique: what was read before this is of ours."""
    now = require_topics(connection, state.name)[state.name]
    if now.topic_id != state.topic_id:
        raise ArchiveError(
            f"topic {state.name!r} was made anew while it was read; start again: its clicks are archived"
            " beside those of the topic before"
        )
