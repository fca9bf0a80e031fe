"""The recommender: a micro-batch of clicks and their sessions in, new sessions and recommendations out.

Pure: no Kafka, no clock, no disk. All sessions of a batch advance together, in rounds: the n-th click
of every session in round n, so one matrix product serves hundreds of sessions. The state is rounded to
the stored precision after every click, so that a session folded live, replayed, or folded one click at
a time comes to the same state.
"""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.events import DEFAULT_KIND, Click, ClickRef, Recommendation, ScoredItem, click_time_ms
from streams.fresh import FreshItems, Items
from streams.ranking import ItemRanking, Ranking
from streams.session import MAX_ITEMS, STATE_DTYPE, OpenSession, Session, SessionItem
from streams.snapshot import Snapshot
from streams.steps import Step, ignore

States = NDArray[np.float32]  # (sessions, state_dim)
_Codes = tuple[int, ...]  # of a click's context; none where the encoder uses none


class RepeatItems(StrEnum):
    """Which items of the session may be recommended in it again."""

    NOT_LAST = "not-last"  # all but the item just clicked: the page already shows it
    ALL = "all"
    NONE = "none"


class AnswerClicks(StrEnum):
    """Which clicks of a session in one batch get a recommendation; all of them move its state."""

    EVERY = "every"
    LATEST = "latest"  # behind a backlog, the page of an earlier click has been left already


class SessionRef(NamedTuple):
    """A session where it lives: offsets are comparable only within a partition."""

    partition: int
    session_id: str


class Arrival(NamedTuple):
    """A click and where it stands on the ``clicks`` topic."""

    click: Click
    partition: int
    offset: int
    append_ms: int

    @property
    def session(self) -> SessionRef:
        """The session that the click belongs to."""
        return SessionRef(self.partition, self.click.session_id)


class Answers(NamedTuple):
    """What a batch came to: sessions to store, and recommendations in the order of the batch's clicks.

    ``n_clicks`` were applied to their sessions, ``n_replays`` had been before. ``folded`` holds, for each
    click that is no repetition, its session's last items, its own at the end: what can be learnt from it.
    """

    sessions: dict[SessionRef, Session]
    recommendations: list[Recommendation]
    n_clicks: int
    n_replays: int
    n_rebuilt: int
    folded: tuple[Items, ...] = ()


class _Step(NamedTuple):
    """One click in its round: the session's line among the states, and the answer it leads to."""

    line: int
    answer: int
    row: int  # the item that moves the state, -1 if none does
    codes: _Codes
    afresh: bool


@dataclass(slots=True)
class _Line:
    """An opened session and its line in the matrix of states."""

    at: int
    session: OpenSession
    stored: Session | None
    rebuild: list[tuple[int, _Codes]] | None  # known items to run again where the state is another encoder's
    n_clicks: int = 0
    latest: int = -1  # which of the pending clicks is its last one


class _Pending(NamedTuple):
    """A click to be answered, and what its session allows."""

    arrival: Arrival
    known: bool  # does the session hold an item that the snapshot knows
    items: tuple[SessionItem, ...]  # the session's last, this click's own at the end
    repeated: bool  # the same event again, of which nothing is to be learnt


class _Found(NamedTuple):
    """The best items, best first; -1 in place of rows past the end of the catalogue."""

    source: Literal["model", "popular"]
    rows: list[int]
    scores: list[float]


class Recommender:
    """Answers clicks from one snapshot; a new snapshot is a new recommender.

    ``fresh`` are items that the snapshot does not know and that are recommended besides its own. An answer
    only reads them; who serves learns more of them between two batches, from ``Answers.folded``.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        *,
        top_k: int = 20,
        repeat_items: RepeatItems = RepeatItems.NOT_LAST,
        ranking: Ranking = Ranking.NEXTCLICK,
        answer_clicks: AnswerClicks = AnswerClicks.EVERY,
        gap_ms: int = 30 * 60 * 1000,
        fresh: FreshItems | None = None,
    ) -> None:
        self.snapshot = snapshot
        self.fresh = fresh
        self._encoder = snapshot.encoder
        self._serving = snapshot.encoder.serving()
        self._coder = snapshot.encoder.context_coder()
        self._vocabulary = snapshot.vocabulary
        self._item_ranking = ItemRanking(snapshot, ranking)
        self._top_k = top_k
        self._repeat_items = repeat_items
        self._answer_clicks = answer_clicks
        self._gap_ms = gap_ms
        n_spare = {RepeatItems.NOT_LAST: 1, RepeatItems.ALL: 0, RepeatItems.NONE: MAX_ITEMS}[repeat_items]
        self._n_candidates = top_k + n_spare  # also of a smaller catalogue: fresh items fill the list up
        counts = self._vocabulary.counts
        shares = (counts[: self._n_candidates] / max(1, int(counts.sum()))).round(6).tolist()
        self._popular = _Found("popular", list(range(len(shares))), shares)

    def answer(
        self,
        arrivals: Sequence[Arrival],
        sessions: Mapping[SessionRef, Session],
        *,
        created_ms: int,
        done: Callable[[Step], None] = ignore,
    ) -> Answers:
        """Fold the clicks, in their order, into their sessions and answer them.

        ``sessions`` holds the stored record of every session that has one. A click at or below its
        session's offset is a replay: it was answered before, and is counted and skipped. ``done`` is told
        how far the batch has come.
        """
        lines: dict[SessionRef, _Line] = {}
        rounds: list[list[_Step]] = []  # the n-th click of every session stands in round n
        pending: list[_Pending] = []
        for arrival in arrivals:
            ref = arrival.session
            line = lines.get(ref) or self._open(len(lines), sessions.get(ref))
            if arrival.offset <= line.session.offset:
                continue
            lines[ref] = line
            if line.n_clicks == len(rounds):
                rounds.append([])
            rounds[line.n_clicks].append(self._fold(line, arrival, pending))
            line.n_clicks += 1
        states = self._load_states(lines)
        n_rebuilt = self._rebuild(states, [line for line in lines.values() if line.rebuild is not None])
        after_click = self._run(rounds, states, len(pending))
        closed = self._close(lines, states)
        done(Step.ADVANCE)
        answered = self._answered(lines, len(pending))
        wanted = [pending[n] for n in answered]
        found = self._search(wanted, after_click[answered])
        done(Step.SEARCH)
        return Answers(
            sessions=closed,
            recommendations=[
                self._recommendation(*each, created_ms) for each in zip(wanted, found, strict=True)
            ],
            n_clicks=len(pending),
            n_replays=len(arrivals) - len(pending),
            n_rebuilt=n_rebuilt,
            folded=tuple(click.items for click in pending if not click.repeated),
        )

    def is_stale(self, session: Session) -> bool:
        """Tell whether the session's state is another encoder's and has to be rebuilt."""
        n_bytes = self._encoder.state_dim * STATE_DTYPE().itemsize
        return session.snapshot != self.snapshot.version or len(session.state) != n_bytes

    def _open(self, at: int, stored: Session | None) -> _Line:
        if stored is None or not self.is_stale(stored):
            return _Line(at, OpenSession(stored, stored.n_applied if stored else 0), stored, None)
        rebuild = []
        before_ms = None
        for item in stored.items:
            if (row := self._vocabulary.row(item.item_id)) is not None:
                rebuild.append((row, self._codes(item, before_ms)))
            before_ms = item.time_ms
        return _Line(at, OpenSession(stored, len(rebuild)), stored, rebuild)

    def _codes(self, item: SessionItem, before_ms: int | None) -> _Codes:
        """Codes of a remembered click's context; ``before_ms`` is the time of the session's click before."""
        if self._coder is None:
            return ()
        return self._coder.code(item.kind or DEFAULT_KIND, item.time_ms, before_ms)

    def _fold(self, line: _Line, arrival: Arrival, pending: list[_Pending]) -> _Step:
        """Fold one click into its session and note what its state and its answer need."""
        click, session = arrival.click, line.session
        row = self._vocabulary.row(click.item_id)
        before = session.items
        before_ms = before[-1].time_ms if before else None
        afresh, moves = session.fold(
            click, arrival.offset, arrival.append_ms, known=row is not None, gap_ms=self._gap_ms
        )
        line.latest = len(pending)
        pending.append(_Pending(arrival, session.n_applied > 0, session.items, session.items is before))
        if not moves or row is None:
            return _Step(line.at, len(pending) - 1, -1, (), afresh)
        codes = self._codes(session.items[-1], None if afresh else before_ms)
        return _Step(line.at, len(pending) - 1, row, codes, afresh)

    def _load_states(self, lines: Mapping[SessionRef, _Line]) -> States:
        """Lay the stored states out in one matrix; new and stale sessions start from the initial one."""
        states = self._encoder.initial_states(len(lines))
        stored = [line for line in lines.values() if line.stored is not None and line.rebuild is None]
        if stored:
            joined = b"".join(line.stored.state for line in stored if line.stored is not None)
            values = np.frombuffer(joined, dtype=STATE_DTYPE).reshape(len(stored), -1)
            states[[line.at for line in stored]] = values
        return states

    def _rebuild(self, states: States, stale: Sequence[_Line]) -> int:
        """Run the last items of stale sessions through this encoder, all sessions side by side."""
        runs = [(line.at, line.rebuild) for line in stale if line.rebuild]
        for n in range(max((len(run) for _, run in runs), default=0)):
            moving = [(at, *run[n]) for at, run in runs if n < len(run)]
            lines, rows, codes = zip(*moving, strict=True)
            self._advance(states, list(lines), list(rows), list(codes))
        return len(stale)

    def _run(self, rounds: Sequence[Sequence[_Step]], states: States, n_answers: int) -> States:
        """Advance the states round by round; give the state just after each answered click."""
        after_click = np.empty((n_answers, states.shape[1]), dtype=np.float32)
        for steps in rounds:
            if afresh := [step.line for step in steps if step.afresh]:
                states[afresh] = self._encoder.initial_states(len(afresh))
            if moving := [step for step in steps if step.row >= 0]:
                self._advance(
                    states,
                    [step.line for step in moving],
                    [step.row for step in moving],
                    [step.codes for step in moving],
                )
            after_click[[step.answer for step in steps]] = states[[step.line for step in steps]]
        return after_click

    def _advance(self, states: States, lines: list[int], rows: list[int], codes: list[_Codes]) -> None:
        context = None if self._coder is None else np.array(codes, dtype=np.int64)
        moved = self._serving.advance(states[lines], np.array(rows, dtype=np.int64), context)
        states[lines] = moved.astype(STATE_DTYPE)

    def _close(self, lines: Mapping[SessionRef, _Line], states: States) -> dict[SessionRef, Session]:
        version = self.snapshot.version
        stored = states.astype(STATE_DTYPE)
        return {id_: line.session.close(version, stored[line.at].tobytes()) for id_, line in lines.items()}

    def _answered(self, lines: Mapping[SessionRef, _Line], n_pending: int) -> list[int]:
        if self._answer_clicks is AnswerClicks.LATEST:
            return sorted(line.latest for line in lines.values())
        return list(range(n_pending))

    def _search(self, pending: Sequence[_Pending], states: States) -> list[_Found]:
        """Rank the items once for all clicks whose session is known; the others get what is popular."""
        stand_ins = [self._stand_in(click) for click in pending]
        known = [n for n, click in enumerate(pending) if click.known or stand_ins[n] >= 0]
        found = [self._popular] * len(pending)
        if known:
            items = [pending[n].items for n in known]
            chosen = np.array([stand_ins[n] for n in known])
            scores, rows = self._item_ranking.best(
                states[known],
                items,
                self._n_candidates,
                self.fresh,
                chosen if chosen.max() >= 0 else None,
            )
            rounded = scores.astype(np.float64).round(4)  # float64, so that JSON shows four digits
            for n, best, score in zip(known, rows.tolist(), rounded.tolist(), strict=True):
                found[n] = _Found("model", best, score)
        return found

    def _stand_in(self, pending: _Pending) -> int:
        """Row of an item to answer by where the session holds no known one; -1 where none is needed."""
        if pending.known or not self.fresh:
            return -1
        return self.fresh.stand_in(pending.arrival.click.item_id)

    def _recommendation(self, pending: _Pending, found: _Found, created_ms: int) -> Recommendation:
        arrival, click = pending.arrival, pending.arrival.click
        excluded = self._excluded(pending)
        items = [
            ScoredItem(item_id, score)
            for row, score in zip(found.rows, found.scores, strict=True)
            if row >= 0 and (item_id := self._item_id(row)) not in excluded
        ]
        return Recommendation(
            session_id=click.session_id,
            snapshot=self.snapshot.version,
            source=found.source,
            created_ms=created_ms,
            click=ClickRef(
                arrival.partition,
                arrival.offset,
                click.item_id,
                click_time_ms(click, arrival.append_ms),
                click.event_id,
            ),
            items=items[: self._top_k],
        )

    def _item_id(self, row: int) -> str:
        """Id of an item; rows past the end of the catalogue are fresh items."""
        n_items = len(self._vocabulary)
        if row < n_items or self.fresh is None:
            return self._vocabulary.item_id(row)
        return self.fresh.item_id(row - n_items)

    def _excluded(self, pending: _Pending) -> Container[str]:
        if self._repeat_items is RepeatItems.ALL:
            return ()
        if self._repeat_items is RepeatItems.NOT_LAST:
            return (pending.arrival.click.item_id,)
        return {item.item_id for item in pending.items}
