"""One torch thread for these tests: on a busy machine waiting threads cost ten times the work."""

from __future__ import annotations

import pytest

from model.threads import set_threads


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    set_threads(1)
