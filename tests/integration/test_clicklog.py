import time

import pytest

from deploy.broker import LocalKafka
from streams.clicklog import ReadProgress, read_window
from streams.kafka import open_producer
from streams.replaying import send_clicks
from streams.shoppers import generate_columns
from streams.topics import TopicError
from tests.conftest import FreshTopics
from tests.integration.harness import click_value


def now_ms() -> int:
    return int(time.time() * 1000)


def test_a_window_holds_the_clicks_in_order_and_the_offsets_they_stand_at(topics: FreshTopics) -> None:
    columns = generate_columns(1, 5_000, start_ms=now_ms() - 3_600_000)
    clicks = list(zip(columns.time_ms.tolist(), columns.session_ids, columns.item_ids, strict=True))
    sent = send_clicks(topics.connection, topics.names.clicks, clicks, None)
    assert sent.n_clicks == 5_000
    progress: list[ReadProgress] = []
    window = read_window(topics.connection, topics.names.clicks, 0, progress.append)
    assert len(window.clicks) == 5_000
    assert window.n_rejected == 0
    assert sum(end - start for start, end in window.offsets.values()) == 5_000
    assert sorted(window.offsets) == [0, 1, 2, 3]
    assert (progress[-1].n_read, progress[-1].n_total) == (5_000, 5_000)
    read: dict[str, list[tuple[str, int]]] = {}
    for session_id, item_id, time_ms in zip(
        window.clicks.session_ids, window.clicks.item_ids, window.clicks.time_ms.tolist(), strict=True
    ):
        read.setdefault(session_id, []).append((item_id, time_ms))
    written: dict[str, list[tuple[str, int]]] = {}
    for time_ms, session_id, item_id in clicks:
        written.setdefault(session_id, []).append((item_id, time_ms))
    assert read == written


def test_a_window_begins_by_arrival_not_by_the_clicks_own_time(topics: FreshTopics) -> None:
    connection, topic = topics.connection, topics.names.clicks
    send_clicks(connection, topic, [(now_ms(), "early", "a")], None)
    time.sleep(0.05)
    from_ms = now_ms()
    time.sleep(0.05)
    send_clicks(connection, topic, [(1_396_808_691_295, "late", "b")], None)
    window = read_window(connection, topic, from_ms)
    assert window.clicks.session_ids.tolist() == ["late"]
    assert window.clicks.time_ms.tolist() == [1_396_808_691_295]
    assert len(read_window(connection, topic, now_ms() + 60_000).clicks) == 0


def test_what_a_worker_would_reject_is_skipped_and_counted_and_no_click_is_later_than_its_arrival(
    topics: FreshTopics,
) -> None:
    with open_producer(topics.connection) as producer:
        for key, value in [
            (b"s", click_value("s", "a", timestamp_ms=now_ms() + 3_600_000)),
            (b"s", b"not json"),
            (b"other", click_value("s", "b")),
            (None, click_value("s", "d")),
            (b"s", click_value("s", "c", kind="cart")),
        ]:
            producer.send(topics.names.clicks, key=key, value=value)
        producer.flush()
    window = read_window(topics.connection, topics.names.clicks, 0)
    assert window.clicks.item_ids.tolist() == ["a", "c"]
    assert window.clicks.each_kind().tolist() == ["view", "cart"]
    assert window.n_rejected == 3
    assert all(window.clicks.time_ms <= now_ms())


def test_an_empty_topic_is_an_empty_window(topics: FreshTopics) -> None:
    assert len(read_window(topics.connection, topics.names.clicks, 0).clicks) == 0


def test_a_topic_that_is_absent_is_named(kafka: LocalKafka) -> None:
    with pytest.raises(TopicError, match="'absent' does not exist"):
        read_window(kafka.connection, "absent", 0)
    with pytest.raises(TopicError, match="'absent' does not exist"):
        send_clicks(kafka.connection, "absent", [], None)
