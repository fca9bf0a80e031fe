"""The auditor: reads what workers left on Kafka and says whether anything was lost, doubled or got ahead.

It shares no code with the worker: plain aiokafka, json, and the oracle that folds the clicks one by one. It
believes the ``clicks`` topic as to what was clicked, and the producer as to what was acknowledged.
"""

import json
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from streams.snapshot import Snapshot
from streams.topics import TopicNames
from tests.faults.clicks import UNKNOWN_ITEM, Sent
from tests.faults.evidence import Answer, Refused, State, read_answer, read_refused, read_state
from tests.faults.reading import COMMITS_TOPIC, Follower, commits_of
from tests.integration.harness import Position, Record
from tests.oracle import differences, fold_one_by_one, read_click

CLOCK_SLACK_MS = 5
NEVER_MS = 1 << 62
SHOWN = 5


@dataclass
class Audit:
    """What was found."""

    acknowledged: int = 0
    clicks: int = 0
    missing: list[Position] = field(default_factory=list)
    duplicates: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    states: int = 0
    differences: list[str] = field(default_factory=list)
    backwards: list[str] = field(default_factory=list)
    written_again: int = 0
    commits: int = 0
    ahead: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    delays_ms: dict[Position, int] = field(default_factory=dict)

    def problems(self, *, duplicates_allowed: bool = True) -> list[str]:
        """Say in words what is not as it must be; empty where all is."""
        problems = [
            *_some("clicks without an answer", self.missing),
            *_some("sessions unlike the oracle's", self.differences),
            *_some("older states after newer ones", self.backwards),
            *_some("commits past what was delivered", self.ahead),
            *_some("answers that do not fit", self.wrong),
        ]
        if self.duplicates and not duplicates_allowed:
            problems.append(f"{self.duplicates} clicks were answered twice")
        return problems

    def figures(self) -> dict[str, Any]:
        """The same as figures."""
        return {
            "clicks": self.clicks,
            "missing": len(self.missing),
            "duplicates": self.duplicates,
            "rejected": dict(self.rejected),
            "states": self.states,
            "differences": len(self.differences),
            "older_after_newer": len(self.backwards),
            "states_written_again": self.written_again,
            "commits": self.commits,
            "commits_ahead": len(self.ahead),
        }


def _some(what: str, found: list[Any]) -> list[str]:
    shown = "; ".join(str(one) for one in found[:SHOWN])
    return [f"{len(found)} {what}: {shown}"] if found else []


class Auditor:
    """Follows one site's topics; every call reads on."""

    def __init__(self, servers: str, topics: TopicNames, group: str) -> None:
        self.clicks: Follower[Record] = Follower(servers, topics.clicks, lambda record: record)
        self.answers = Follower(servers, topics.recommendations, read_answer)
        self.refused = Follower(servers, topics.rejected_clicks, read_refused)
        self.states = Follower(servers, topics.sessions_changelog, read_state)
        self.commits = Follower(servers, COMMITS_TOPIC, commits_of(group, topics.clicks))

    def unanswered(self, clicks: Iterable[Position]) -> set[Position]:
        """Give those of the clicks that have neither an answer nor a rejection yet."""
        done = {one.click for one in self.answers.read_on()} | {one.click for one in self.refused.read_on()}
        return set(clicks) - done

    def trace(self, missing: Iterable[Position]) -> str:
        """Say where and when the missing clicks are, and what was committed and answered around them."""
        clicks = {one.position: one.timestamp_ms for one in self.clicks.read_on()}
        lines = []
        for partition in sorted({one.partition for one in missing}):
            here = sorted(one for one in missing if one.partition == partition)
            first, last = here[0].offset, here[-1].offset
            around = [one for one in self.commits.read_on() if one.partition == partition]
            before = [one for one in around if one.offset <= first][-2:]
            after = [one for one in around if one.offset > first][:2]
            answers = sorted(one for one in self.answers.records if one.partition == partition)
            near = [one for one in answers if first - 2 <= one.click.offset <= last + 2]
            lines.append(
                f"partition {partition}: {len(here)} clicks from {first} to {last},"
                f" arrived {clicks.get(here[0])} to {clicks.get(here[-1])}; committed"
                f" {[(one.offset, one.at_ms) for one in before + after]}; answered around"
                f" {[(one.click.offset, one.append_ms) for one in near]}"
            )
        return "\n  ".join(lines)

    def audit(
        self,
        sent: Mapping[Position, Sent],
        snapshots: Mapping[str, Snapshot],
        *,
        whole_changelog: bool = True,
    ) -> Audit:
        """Compare all there is with what was acknowledged, and with the oracle.

        Without the ``whole_changelog`` (compacted, emptied) nobody knows when a state was delivered.
        """
        clicks = {one.position: one for one in self.clicks.read_on()}
        answers, refused = self.answers.read_on(), self.refused.read_on()
        states = self.states.read_on()
        audit = Audit(acknowledged=len(sent), clicks=len(clicks))
        self._compare_clicks(audit, clicks, sent)
        reasons = {(one.key, one.value): one.reason for one in sent.values()}
        _check_outcomes(audit, clicks, reasons, answers, refused, snapshots)
        self._check_states(audit, clicks, answers, snapshots)
        _check_order(audit, states)
        self._check_commits(audit, clicks, states if whole_changelog else None)
        return audit

    def _compare_clicks(
        self, audit: Audit, clicks: Mapping[Position, Record], sent: Mapping[Position, Sent]
    ) -> None:
        for position, one in sent.items():
            found = clicks.get(position)
            if found is None or (found.key, found.value) != (one.key, one.value):
                audit.wrong.append(f"{position}: acknowledged, and not on the topic")

    def _check_states(
        self,
        audit: Audit,
        clicks: Mapping[Position, Record],
        answers: Iterable[Answer],
        snapshots: Mapping[str, Snapshot],
    ) -> None:
        versions: dict[tuple[int, int], str] = {one.click: one.snapshot for one in answers}
        answered = sorted(position for position in clicks if position in versions)
        folded = fold_one_by_one(
            (
                read_click(*position, clicks[position].timestamp_ms, clicks[position].value or b"")
                for position in answered
            ),
            snapshots,
            versions,
        )
        final = {(one.partition, one.session_id): one.value for one in self.states.records}
        stored = {key: value for key, value in final.items() if value is not None}
        audit.states = len(stored)
        audit.differences = differences(folded, stored)

    def _check_commits(
        self, audit: Audit, clicks: Mapping[Position, Record], states: Iterable[State] | None
    ) -> None:
        """No offset was committed before all below it was answered, and its states were delivered."""
        done_ms = _done_ms(clicks, self.answers.records, self.refused.records, states)
        offsets: dict[int, list[int]] = defaultdict(list)
        latest_ms: dict[int, list[int]] = defaultdict(list)
        for partition, offset in sorted(clicks):
            before_ms = latest_ms[partition][-1] if latest_ms[partition] else 0
            offsets[partition].append(offset)
            latest_ms[partition].append(max(before_ms, done_ms[Position(partition, offset)]))
        commits = self.commits.read_on()
        audit.commits = len(commits)
        for commit in commits:
            n_below = bisect_left(offsets[commit.partition], commit.offset)
            if (
                n_below
                and (late_ms := latest_ms[commit.partition][n_below - 1]) > commit.at_ms + CLOCK_SLACK_MS
            ):
                late = "never" if late_ms == NEVER_MS else f"{late_ms - commit.at_ms} ms later"
                audit.ahead.append(f"{commit.partition}/{commit.offset}: all below it was done {late}")


def _check_outcomes(
    audit: Audit,
    clicks: Mapping[Position, Record],
    reasons: Mapping[tuple[bytes | None, bytes | None], str | None],
    answers: Iterable[Answer],
    refused: Iterable[Refused],
    snapshots: Mapping[str, Snapshot],
) -> None:
    """Each click has the outcome it must have, once; what is said of it is true."""
    first: dict[Position, Answer] = {}
    for answer in answers:
        if (before := first.setdefault(answer.click, answer)) is not answer:
            audit.duplicates += 1
            comparable = before.snapshot == answer.snapshot and answer.item_id != UNKNOWN_ITEM
            if comparable and abs(before.best - answer.best) > 0.01:
                audit.wrong.append(f"{answer.click}: answered again from another state")
            continue
        if (problem := _misfit(answer, clicks.get(answer.click), snapshots)) is not None:
            audit.wrong.append(f"{answer.click}: {problem}")
    rejected: dict[Position, str] = {}
    for one in refused:
        audit.duplicates += one.click in rejected
        rejected[one.click] = one.reason
    audit.rejected.update(rejected.values())
    for position, click in clicks.items():
        wanted = reasons.get((click.key, click.value))
        if position not in first and position not in rejected:
            audit.missing.append(position)
        elif rejected.get(position) != wanted or (position in first) != (wanted is None):
            audit.wrong.append(f"{position}: rejected as {rejected.get(position)}, expected {wanted}")
        if position in first:
            audit.delays_ms[position] = first[position].append_ms - click.timestamp_ms


def _misfit(answer: Answer, click: Record | None, snapshots: Mapping[str, Snapshot]) -> str | None:
    if click is None:
        return "an answer to a click that is not there"
    fields = json.loads(click.value or b"{}")
    if (answer.session_id, answer.item_id) != (fields.get("session_id"), fields.get("item_id")):
        return f"answered as {answer.session_id} {answer.item_id}"
    if answer.partition != click.position.partition:
        return f"answered on partition {answer.partition}"
    if answer.snapshot not in snapshots:
        return f"answered from {answer.snapshot}, which was never announced"
    return None if answer.n_items else "no item is recommended"


def _check_order(audit: Audit, states: Iterable[State]) -> None:
    """A session's states rise on the changelog: else two workers wrote for one partition."""
    last: dict[tuple[int, str], int] = {}
    for state in states:
        key = (state.partition, state.session_id)
        if state.value is not None:
            before = last.get(key, -1)
            if state.offset < before:
                audit.backwards.append(f"{key}: {state.offset} after {before}")
            audit.written_again += state.offset == before
            last[key] = max(before, state.offset)


def _done_ms(
    clicks: Mapping[Position, Record],
    answers: Iterable[Answer],
    refused: Iterable[Refused],
    states: Iterable[State] | None,
) -> dict[Position, int]:
    """When a click was answered or rejected, and where it was answered also its session's state delivered."""
    by_session: dict[tuple[int, str], list[tuple[int, int]]] = defaultdict(list)
    for state in states or ():
        by_session[state.partition, state.session_id].append((state.offset, state.append_ms))
    done_ms = dict.fromkeys(clicks, NEVER_MS)
    for one in refused:
        done_ms[one.click] = min(one.append_ms, done_ms.get(one.click, NEVER_MS))
    for answer in answers:
        state_ms = answer.append_ms
        if states is not None:
            written = by_session[answer.click.partition, answer.session_id]
            at = bisect_left(written, (answer.click.offset, 0))
            state_ms = written[at][1] if at < len(written) else NEVER_MS
        done_ms[answer.click] = min(max(answer.append_ms, state_ms), done_ms.get(answer.click, NEVER_MS))
    return done_ms
