"""How a demo is shown: one calm picture on a terminal, a line now and then everywhere else."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TextIO, TypeVar

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from deploy.demo.picture import clock
from deploy.progress import show_seconds

PLAIN_EVERY_S: Final = 5.0

Note = Callable[[str], None]


class Shown(Protocol):
    """What every scene has."""

    title: str
    planned_s: float

    @property
    def seconds(self) -> float:
        """Since the first click was due."""


S = TypeVar("S", bound=Shown)
S_contra = TypeVar("S_contra", bound=Shown, contravariant=True)


@dataclass(frozen=True, slots=True)
class Telling(Generic[S]):
    """How a scene is told: in a picture of a width and height, by what has happened, by its figures."""

    draw: Callable[[S, int, int], list[Text]]
    news: Callable[[S], list[str]]
    line: Callable[[S], str | None]


class View(Protocol[S_contra]):
    """What shows a demo."""

    def say(self, line: str) -> None:
        """Something is done; the line stays."""

    def step(self, what: str) -> AbstractContextManager[Note]:
        """Something takes a while; the note says how far it is."""

    def live(self, scene: S_contra) -> AbstractContextManager[None]:
        """The stream begins, and ends with the block."""

    def show(self, scene: S_contra) -> None:
        """This is how it looks now; called a few times a second."""


class LiveView(Generic[S]):
    """A picture that is redrawn in place; its last state stays."""

    def __init__(self, console: Console, telling: Telling[S]) -> None:
        self._console = console
        self._telling = telling
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
    def live(self, scene: S) -> Iterator[None]:
        """See ``View``."""
        with Live(
            self._draw(scene), console=self._console, auto_refresh=False, vertical_overflow="crop"
        ) as self._live:
            yield
        self._live = None

    def show(self, scene: S) -> None:
        """See ``View``."""
        if self._live is not None:
            self._live.update(self._draw(scene), refresh=True)

    def _draw(self, scene: S) -> RenderableType:
        width, height = self._console.size
        return Group(*self._telling.draw(scene, width, height - 1))


class PlainView(Generic[S]):
    """Lines, for logs: each step when it is done, and every few seconds how it goes."""

    def __init__(self, stream: TextIO, telling: Telling[S]) -> None:
        self._stream = stream
        self._telling = telling
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
    def live(self, scene: S) -> Iterator[None]:
        """See ``View``."""
        self.say(f"{scene.title}: clicks flow for {show_seconds(scene.planned_s)}")
        self._told = time.monotonic()
        yield

    def show(self, scene: S) -> None:
        """See ``View``."""
        for happened in self._telling.news(scene):
            if happened not in self._seen:
                self._seen.add(happened)
                self.say(f"{clock(scene.seconds)}  {happened}")
        if time.monotonic() - self._told >= PLAIN_EVERY_S and (line := self._telling.line(scene)):
            self._told = time.monotonic()
            self.say(f"{clock(scene.seconds)}  {line}")
