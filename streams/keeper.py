"""The keeper of snapshots: gives back, promotes and rolls back by what live quality says, and announces it.

It runs in the worker that serves partition 0 of ``clicks``: where there are workers there is one, another
takes over when it goes, and nothing more has to be started or watched. It holds nothing that is not on the
topics, so that two of them for a moment, or none, do no harm: before it announces it reads once more what
is announced.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

import msgspec

from streams.announcements import CANARY, PRODUCTION, Announcement, announce, read_current
from streams.canary_rule import AFTER_REPLACEMENT, Judgement, Rule, Standing, judge
from streams.kafka import KafkaConnection
from streams.live_figures import Comparison, LiveFigures
from streams.manifest import Manifest, SnapshotError
from streams.snapshot_store import list_snapshots, manifest_sha256, snapshot_location
from streams.topics import TopicNames

_log = logging.getLogger(__name__)


class CanaryAction(StrEnum):
    """What is done about a canary without anybody's word."""

    NONE = "none"
    ROLLBACK = "rollback"  # given back where it is worse
    PROMOTE = "promote"  # and made production where it is not


@dataclass(frozen=True, slots=True)
class KeeperRules:
    """What the keeper may do, and by what it judges."""

    canary_action: CanaryAction = CanaryAction.ROLLBACK
    canary: Rule = field(default_factory=Rule)
    rolls_production_back: bool = True
    production: Rule = AFTER_REPLACEMENT


class Decision(NamedTuple):
    """What is to be announced as what, None to give the canary's sessions back, and why."""

    alias: str
    announcement: Announcement | None
    reason: str

    def __str__(self) -> str:
        if self.announcement is None:
            return f"the canary is given back: {self.reason}"
        return f"{self.announcement.version} is announced as {self.alias}: {self.reason}"


def judge_all(comparisons: Mapping[str, Comparison], rules: KeeperRules) -> dict[str, Judgement]:
    """Judge every comparison by its rule."""
    by_alias = {CANARY: rules.canary, PRODUCTION: rules.production}
    return {alias: judge(each.first, each.second, by_alias[alias]) for alias, each in comparisons.items()}


def decide_canary(
    announced: Mapping[str, Announcement], judgement: Judgement, action: CanaryAction, now_ms: int
) -> list[Decision]:
    """Say what follows for the canary: nothing for a pinned one, and a pinned production is not replaced."""
    canary, production = announced[CANARY], announced[PRODUCTION]
    if canary.pinned:
        return []
    reason = f"{canary.version} is {judgement}"
    if judgement.standing is Standing.WORSE and action is not CanaryAction.NONE:
        return [Decision(CANARY, None, reason)]
    if judgement.standing is Standing.NOT_WORSE and action is CanaryAction.PROMOTE and not production.pinned:
        promoted = msgspec.structs.replace(canary, previous=None).succeeding(production, announced_ms=now_ms)
        given_back = Decision(CANARY, None, f"{canary.version} is promoted")
        return [Decision(PRODUCTION, promoted, reason), given_back]
    return []


class RollbackTarget(NamedTuple):
    """The version to return to, and the one to return to from there: kept, and what workers fall back on."""

    version: str
    previous: str | None


def rollback_target(current: Announcement, manifests: Iterable[Manifest]) -> RollbackTarget | None:
    """Give what to return to; None where there is nothing.

    It is the one announced before, where that is still there, else the newest that is older; never one that
    the trainer's gate refused.
    """
    versions = sorted(manifest.version for manifest in manifests if not manifest.refused)
    older = [version for version in versions if version < current.version]
    target = current.previous if current.previous in versions else (older[-1] if older else None)
    if target is None:
        return None
    older_still = [version for version in versions if version < target]
    return RollbackTarget(target, older_still[-1] if older_still else None)


def _return_from(current: Announcement, now_ms: int) -> Announcement | None:
    """What puts the snapshot before in its place, None where there is none.

    It is not pinned: trainers go on from it, for a shop that has changed is not to be left with an old one.
    And it names no previous one, so that it is not judged: a fall of the whole shop would lead back and back.
    """
    target = rollback_target(current, list_snapshots(current.folder))
    if target is None:
        return None
    location = snapshot_location(current.folder, target.version)
    return Announcement(target.version, location, manifest_sha256(location), announced_ms=now_ms)


class Keeper:
    """Looks at the live figures now and then, and announces what follows; not for several threads."""

    def __init__(
        self, connection: KafkaConnection, topics: TopicNames, figures: LiveFigures, rules: KeeperRules
    ) -> None:
        self._connection = connection
        self._topics = topics
        self._figures = figures
        self._rules = rules
        self._stuck_at: str | None = None  # a version that nothing can be put in the place of, told once

    def look(self, now_ms: int) -> list[Decision]:
        """Read what is new, decide, announce; gives what was announced."""
        judgements = judge_all(self._figures.read(now_ms), self._rules)
        decisions = self._decide(self._figures.announced, judgements, now_ms)
        if decisions and self._still_announced():
            for decision in decisions:
                announce(
                    self._connection,
                    self._topics.snapshots,
                    decision.alias,
                    decision.announcement,
                    reason=decision.reason,
                )
            return decisions
        return []

    def _decide(
        self, announced: Mapping[str, Announcement], judgements: Mapping[str, Judgement], now_ms: int
    ) -> list[Decision]:
        if CANARY in judgements:
            action = self._rules.canary_action
            if decisions := decide_canary(announced, judgements[CANARY], action, now_ms):
                return decisions
        if (
            self._rules.rolls_production_back
            and PRODUCTION in judgements
            and judgements[PRODUCTION].standing is Standing.WORSE
        ):
            return self._roll_back(announced[PRODUCTION], judgements[PRODUCTION], now_ms)
        return []

    def _roll_back(self, current: Announcement, judgement: Judgement, now_ms: int) -> list[Decision]:
        try:
            announcement = _return_from(current, now_ms)
            obstacle = "there is none before it to return to"
        except (SnapshotError, OSError) as error:
            announcement, obstacle = None, str(error)
        if announcement is None:
            if self._stuck_at != current.version:
                _log.error("%s is %s before it, and stays: %s", current.version, judgement, obstacle)
            self._stuck_at = current.version
            return []
        reason = f"{current.version} is {judgement} before it"
        return [Decision(PRODUCTION, announcement, reason)]

    def _still_announced(self) -> bool:
        """Whether nobody has announced anything since it was read: their word counts."""
        return read_current(self._connection, self._topics.snapshots) == self._figures.announced
