"""What is to be seen of a snapshot's life at a moment, as a picture and as lines."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from rich.text import Text

from deploy.demo.picture import LABEL, clock, sparkline
from deploy.demo.view import Telling

BUCKET_S: Final = 3.0


@dataclass(slots=True)
class LifecycleScene:
    """The front end's latest report, hit rates bucket by bucket, and what has happened."""

    title: str
    planned_s: float
    report: Mapping[str, Any] = field(default_factory=dict)
    trainer: str = ""  # what it said last
    bad: str = ""  # the version of the sabotaged snapshot, once there is one
    happened: list[tuple[float, str]] = field(default_factory=list)
    refreshed_s: dict[str, float] = field(default_factory=dict)  # version → its first answer
    hit_rates: list[float] = field(default_factory=list)  # by bucket
    hit_rates_beside: list[float] = field(default_factory=list)
    clicks_per_s: float = 0.0
    _bucket: tuple[float, int, int, int, int] = (0.0, 0, 0, 0, 0)

    @property
    def seconds(self) -> float:
        """Since the first click was due."""
        return float(self.report.get("seconds", 0.0))

    @property
    def versions(self) -> dict[str, float]:
        """Snapshots that have answered, and when each was first seen."""
        return dict(self.report.get("versions", {}))

    def note(self, what: str) -> None:
        """Something has happened now."""
        self.happened.append((self.seconds, what))

    def take(self, report: Mapping[str, Any]) -> None:
        """Take the front end's latest report."""
        if "seconds" not in report or report is self.report:
            return
        self.report = report
        for version, at_s in list(self.versions.items())[1:]:
            if version != self.bad and version not in self.refreshed_s:
                self.refreshed_s[version] = at_s
                self.happened.append((at_s, f"refreshed: {version} answers"))
        now = (
            self.seconds,
            report["judged"],
            report["judged_hits"],
            report["hits_beside"],
            report["sent"],
        )
        began_s, judged, hits, beside, sent = self._bucket
        if self.seconds - began_s < BUCKET_S or report["judged"] == judged:
            return
        n = report["judged"] - judged
        self.hit_rates.append((report["judged_hits"] - hits) / n)
        self.hit_rates_beside.append((report["hits_beside"] - beside) / n)
        self.clicks_per_s = (report["sent"] - sent) / (self.seconds - began_s)
        self._bucket = now

    def recent(self, rates: list[float]) -> float:
        """The mean of the last five buckets."""
        return sum(rates[-5:]) / max(1, len(rates[-5:]))


def draw(scene: LifecycleScene, width: int, height: int) -> list[Text]:
    """The whole picture: figures above, what has happened below."""
    width = max(60, width)
    left = Text.assemble((" nextclick demo --lifecycle", "bold"), ("   " + scene.title, "dim"))
    left.truncate(width - 16)
    right = f"{clock(scene.seconds)} of {clock(scene.planned_s)} "
    left.pad_right(max(1, width - left.cell_len - len(right)))
    lines = [left.append(right), Text("─" * width, style="dim"), *_figures(scene, width), Text()]
    room = max(0, height - len(lines))
    for at_s, what in scene.happened[max(0, len(scene.happened) - room) :]:
        lines.append(Text.assemble((f" {clock(at_s):>{LABEL - 2}} ", "dim"), what))
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
        line.truncate(width)
    return lines[:height]


def _figures(scene: LifecycleScene, width: int) -> list[Text]:
    report = scene.report
    if "judged" not in report:
        return [_row("clicks", "the first ones are on their way")] + [Text()] * 5
    latency = report["latency_ms"]
    speed = "" if latency["p50"] is None else f"   p50 {latency['p50']:.0f} ms  p99 {latency['p99']:.0f} ms"
    clicks = f"{report['sent']:>6,}   {scene.clicks_per_s:>4,.0f}/s   {report['answered']:,} answered{speed}"
    room = width - LABEL - 30
    return [
        _row("clicks", clicks),
        _rates("hit rate@20", scene.recent(scene.hit_rates), scene.hit_rates, room),
        _rates("  unrefreshed", scene.recent(scene.hit_rates_beside), scene.hit_rates_beside, room),
        _row("canary", _canary(scene)),
        _row("new items", _new_items(scene)),
        _row("trainer", scene.trainer),
    ]


def _rates(label: str, recent: float, rates: list[float], room: int) -> Text:
    return _row(label, f"{recent:.3f} in the last 15 s   ", sparkline(rates, room, top=1.0))


def _row(label: str, value: str, spark: Text | None = None) -> Text:
    line = Text.assemble((f" {label:{LABEL}}", "dim"), value)
    return line if spark is None else line.append_text(spark)


def _canary(scene: LifecycleScene) -> str:
    judged, hits = scene.report["by_snapshot"].get(scene.bad, (0, 0)) if scene.bad else (0, 0)
    return f"{scene.bad}: {hits / judged:.3f} of {judged:,} clicks" if judged else "none yet"


def _new_items(scene: LifecycleScene) -> str:
    report = scene.report
    waited = "" if report["new_item_s"] is None else f", {report['new_item_s']:.1f} s after their first click"
    return f"{report['new_items']} came, {report['new_items_shown']} are recommended{waited}"


def news(scene: LifecycleScene) -> list[str]:
    """What has happened up to now."""
    return [what for _, what in scene.happened]


def line(scene: LifecycleScene) -> str | None:
    """How it goes, None before the first hit rates."""
    report = scene.report
    if not scene.hit_rates:
        return None
    return (
        f"{report['sent']:,} clicks ({scene.clicks_per_s:,.0f}/s), hit rate@20 of late"
        f" {scene.recent(scene.hit_rates):.3f} (never refreshed {scene.recent(scene.hit_rates_beside):.3f}),"
        f" new items {report['new_items_shown']} of {report['new_items']}"
    )


LIFECYCLE: Final = Telling(draw, news, line)
