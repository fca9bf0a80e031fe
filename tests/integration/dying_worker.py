"""``nextclick`` with a native fault built in: the process aborts where it would answer ``item-deadly``."""

import os
from collections.abc import Mapping, Sequence

from deploy.cli.main import main
from streams import recommender
from streams.recommender import Answers, Arrival, SessionRef
from streams.session import Session


class Dying(recommender.Recommender):
    def answer(
        self, arrivals: Sequence[Arrival], sessions: Mapping[SessionRef, Session], *, created_ms: int
    ) -> Answers:
        if any(arrival.click.item_id == "item-deadly" for arrival in arrivals):
            os.abort()
        return super().answer(arrivals, sessions, created_ms=created_ms)


if __name__ == "__main__":
    recommender.Recommender = Dying  # type: ignore[misc]
    main()
