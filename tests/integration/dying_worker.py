"""``nextclick`` with a native fault built in: the process aborts where it would answer ``item-deadly``."""

import os
from collections.abc import Callable, Mapping, Sequence

from deploy.cli.main import main
from streams import recommender
from streams.recommender import Answers, Arrival, SessionRef
from streams.session import Session
from streams.steps import Step, ignore


class Dying(recommender.Recommender):
    def answer(
        self,
        arrivals: Sequence[Arrival],
        sessions: Mapping[SessionRef, Session],
        *,
        created_ms: int,
        done: Callable[[Step], None] = ignore,
    ) -> Answers:
        if any(arrival.click.item_id == "item-deadly" for arrival in arrivals):
            os.abort()
        return super().answer(arrivals, sessions, created_ms=created_ms, done=done)


if __name__ == "__main__":
    recommender.Recommender = Dying  # type: ignore[misc]
    main()
