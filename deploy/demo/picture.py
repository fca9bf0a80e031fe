"""The picture of a demo at a moment, as lines of a given width and number."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.text import Text

from deploy.demo.scene import BUCKET_S, Scene

LABEL: Final = 13
SPARKS: Final = "▁▂▃▄▅▆▇█"
LEAVING_S: Final = 8.0


def picture(scene: Scene, width: int, height: int) -> list[Text]:
    """The whole picture: figures above, sessions below as far as there is room."""
    width = max(60, width)
    lines = [_title(scene, width), Text("─" * width, style="dim"), *_figures(scene, width), Text()]
    n_sessions = max(0, (height - len(lines) + 1) // 3)
    shown = list(scene.report.get("shown", []))[:n_sessions]
    for n, session in enumerate(shown):
        lines += _session(session, width, scene.made_up)
        if n < len(shown) - 1:
            lines.append(Text())
    lines += [Text()] * (3 * n_sessions - 1 - (3 * len(shown) - 1 if shown else 0))
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
        line.truncate(width)
    return lines[:height]


def _title(scene: Scene, width: int) -> Text:
    left = Text.assemble((" nextclick demo", "bold"), ("   " + scene.title, "dim"))
    right = f"{clock(min(scene.seconds, scene.planned_s))} of {clock(scene.planned_s)} "
    left.pad_right(max(1, width - left.cell_len - len(right)))
    return left.append(right)


def _figures(scene: Scene, width: int) -> list[Text]:
    report = scene.report
    if "sent" not in report:
        return [_row("clicks", "the first ones are on their way"), Text(), Text(), Text(), Text()]
    latency = report["latency_ms"]
    speed = "" if latency["p50"] is None else f"p50 {latency['p50']:>4.0f} ms   p99 {latency['p99']:>4.0f} ms"
    hits = f"{scene.rate('hits'):.3f}        popular items {scene.rate('popular_hits'):.3f}"
    mark = None if scene.swapped_s is None else int(scene.swapped_s / BUCKET_S)
    room = width - LABEL - 36
    return [
        _row(
            "clicks",
            f"{report['sent']:>6,}         {scene.clicks_per_s:>4,.0f}/s    {report['answered']:,} answered",
        ),
        _row("latency", f"{speed:36}", sparkline(scene.latencies_ms, room, mark)),
        _row("hit rate@20", f"{hits:36}", sparkline(scene.hit_rates, room, mark, top=1.0)),
        _snapshot(scene),
        _trainer(scene),
    ]


def _row(label: str, value: str, spark: Text | None = None) -> Text:
    line = Text.assemble((f" {label:{LABEL - 1}}", "dim"), value)
    return line if spark is None else line.append_text(spark)


def _snapshot(scene: Scene) -> Text:
    versions = list(scene.versions)
    if not versions:
        return _row("snapshot", "")
    line = _row("snapshot", versions[-1])
    if scene.swapped_s is not None:
        line.append(f"   swapped in at {clock(scene.swapped_s)}", "magenta").append(
            " while clicks flowed", "dim"
        )
    return line


def _trainer(scene: Scene) -> Text:
    if scene.restarts:
        return _row("worker", f"ended and was started again ({scene.restarts})")
    if scene.trainer:
        return _row("trainer", scene.trainer)
    if scene.retraining_s is None:
        return _row("trainer", "waits for more clicks")
    return _row("trainer", "has published what it learnt from the clicks so far")


def _session(session: Mapping[str, Any], width: int, readable: bool) -> list[Text]:
    """Two lines: what was clicked, a ✓ where it had been recommended; what is recommended now."""
    name = str(session["session_id"])
    style = "dim" if session["idle_s"] > LEAVING_S else ""
    indent = max(14, min(20, len(name) + 2))
    clicks: list[tuple[str, bool | None]] = [(item, hit) for item, hit in session["clicks"]]
    first = Text(f" {name:{indent - 1}}", style="dim" if style else "cyan")
    trail = _newest_that_fit(clicks, width - indent - 1, readable)
    for n, (item, hit) in enumerate(trail):
        first.append(" › " if n else "", "dim").append(item, style or ("bold" if n == len(trail) - 1 else ""))
        if hit:
            first.append(" ✓", style or "green")
    second = Text(" " * indent + "next  ", style="dim")
    room = width - indent - 7
    items = [_name(item, readable) for item in session["items"]]
    second.append(" · ".join(_first_that_fit(items, room, 3)), style or "")
    return [first, second]


def _newest_that_fit(
    clicks: Sequence[tuple[str, bool | None]], room: int, readable: bool
) -> list[tuple[str, bool | None]]:
    fitting: list[tuple[str, bool | None]] = []
    for item, hit in reversed(clicks):
        name = _name(item, readable)
        room -= len(name) + (2 if hit else 0) + (3 if fitting else 0)
        if room < 0 and fitting:
            break
        fitting.insert(0, (name, hit))
    return fitting


def _first_that_fit(names: Sequence[str], room: int, between: int) -> list[str]:
    fitting: list[str] = []
    for name in names:
        room -= len(name) + (between if fitting else 0)
        if room < 0:
            break
        fitting.append(name)
    return fitting


def _name(item_id: str, readable: bool) -> str:
    return item_id.replace("-", " ") if readable else item_id


def sparkline(values: Sequence[float], room: int, mark: int | None = None, top: float | None = None) -> Text:
    """The last values as small bars; a line stands before value ``mark``."""
    begin = max(0, len(values) - max(1, room - 1))
    highest = top if top is not None else max(values, default=0.0)
    line = Text()
    for at in range(begin, len(values)):
        if at == mark:
            line.append("┃", "magenta")
        share = values[at] / highest if highest else 0.0
        line.append(SPARKS[min(len(SPARKS) - 1, int(share * len(SPARKS)))], "green" if top else "blue")
    return line


def clock(seconds: float) -> str:
    """Minutes and seconds: ``0:07``."""
    whole = int(seconds)
    return f"{whole // 60}:{whole % 60:02}"
