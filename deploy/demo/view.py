"""How a demo is shown: one calm picture on a terminal, a line now and then everywhere else."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Protocol, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live

from deploy.demo.picture import clock, picture
from deploy.demo.scene import Scene
from deploy.progress import show_seconds

PLAIN_EVERY_S: Final = 5.0

Note = Callable[[str], None]


class View(Protocol):
    """What shows a demo."""

    def say(self, line: str) -> None:
        """Something is done; the line stays."""

    def step(self, what: str) -> AbstractContextManager[Note]:
        """Something takes a while; the note says how far it is."""

    def live(self, scene: Scene) -> AbstractContextManager[None]:
        """The stream begins, and ends with the block."""

    def show(self, scene: Scene) -> None:
        """This is how it looks now; called a few times a second."""


class LiveView:
    """A picture that is redrawn in place; its last state stays."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None

    def say(self, line: str) -> None:
        """See ``View``."""
        self._console.print(f"[green]✓[/] {line}", highlight=False)

    @contextmanager
    def step(self, what: str) -> Iterator[Note]:
        """See ``View``."""
        with self._console.status(what, spinner_style="cyan") as status:
            yield lambda note: status.update(f"{what}  [dim]{note}[/]" if note else what)

    @contextmanager
    def live(self, scene: Scene) -> Iterator[None]:
        """See ``View``."""
        with Live(
            self._draw(scene), console=self._console, auto_refresh=False, vertical_overflow="crop"
        ) as self._live:
            yield
        self._live = None

    def show(self, scene: Scene) -> None:
        """See ``View``."""
        if self._live is not None:
            self._live.update(self._draw(scene), refresh=True)

    def _draw(self, scene: Scene) -> RenderableType:
        width, height = self._console.size
        return Group(*picture(scene, width, height - 1))


class PlainView:
    """Lines, for logs: each step when it is done, and every few seconds how it goes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._told = 0.0
        self._seen: set[str] = set()

    def say(self, line: str) -> None:
        """See ``View``."""
        print(line, file=self._stream, flush=True)

    @contextmanager
    def step(self, what: str) -> Iterator[Note]:
        """See ``View``."""
        yield lambda note: None

    @contextmanager
    def live(self, scene: Scene) -> Iterator[None]:
        """See ``View``."""
        self.say(f"{scene.title}: clicks flow for {show_seconds(scene.planned_s)}")
        self._told = time.monotonic()
        yield

    def show(self, scene: Scene) -> None:
        """See ``View``."""
        for happened in self._news(scene):
            self.say(f"{clock(scene.seconds)}  {happened}")
        if time.monotonic() - self._told >= PLAIN_EVERY_S and "sent" in scene.report:
            self._told = time.monotonic()
            self.say(f"{clock(scene.seconds)}  {self._line(scene)}")

    def _news(self, scene: Scene) -> list[str]:
        news = []
        if scene.retraining_s is not None:
            news.append("a trainer begins to read what has flowed")
        news += [f"snapshot {version} was swapped in" for version in list(scene.versions)[1:]]
        if scene.restarts:
            news.append(f"the worker had ended: started again ({scene.restarts})")
        new = [line for line in news if line not in self._seen]
        self._seen |= set(new)
        return new

    def _line(self, scene: Scene) -> str:
        report = scene.report
        latency = report["latency_ms"]
        shown = "-" if latency["p50"] is None else f"p50 {latency['p50']:.0f} ms, p99 {latency['p99']:.0f} ms"
        return (
            f"{report['sent']:,} clicks ({scene.clicks_per_s:,.0f}/s), latency {shown}, hit rate@20"
            f" {scene.rate('hits'):.3f} (popular items {scene.rate('popular_hits'):.3f})"
        )
