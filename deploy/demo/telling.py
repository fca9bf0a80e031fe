"""How the demo is told: its picture, and for logs what has happened and a line of figures."""

from typing import Final

from deploy.demo.picture import picture
from deploy.demo.scene import Scene
from deploy.demo.view import Telling


def news(scene: Scene) -> list[str]:
    """What has happened up to now."""
    happened = []
    if scene.retraining_s is not None:
        happened.append("a trainer begins to read what has flowed")
    happened += [f"snapshot {version} was swapped in" for version in list(scene.versions)[1:]]
    if scene.restarts:
        happened.append(f"the worker had ended: started again ({scene.restarts})")
    return happened


def line(scene: Scene) -> str | None:
    """How it goes, None before the first click."""
    report = scene.report
    if "sent" not in report:
        return None
    latency = report["latency_ms"]
    shown = "-" if latency["p50"] is None else f"p50 {latency['p50']:.0f} ms, p99 {latency['p99']:.0f} ms"
    return (
        f"{report['sent']:,} clicks ({scene.clicks_per_s:,.0f}/s), latency {shown}, hit rate@20"
        f" {scene.rate('hits'):.3f} (popular items {scene.rate('popular_hits'):.3f})"
    )


DEMO: Final = Telling(picture, news, line)
