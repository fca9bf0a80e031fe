"""A site of one's own on the tests' Kafka."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.broker import LocalKafka
from tests.integration.site import Site, open_site


@pytest.fixture
def site(kafka: LocalKafka, tmp_path: Path) -> Iterator[Site]:
    """A site with its topics made; its workers are gone afterwards."""
    with open_site(kafka, tmp_path) as opened:
        yield opened
