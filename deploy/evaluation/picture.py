"""The pictures of ``nextclick evaluate``, and the frame of others; matplotlib comes with an extra."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from streams.errors import NextclickError

SUFFIXES = (".png", ".svg", ".pdf")
COLOURS = (
    *("#3b8ed8", "#e07b39", "#3aa76d", "#b25fc9", "#c94f4f"),
    *("#8c7a3d", "#4bb3b8", "#d06fa1", "#6b7680", "#9bb53c"),
)
STYLE: dict[str, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "nextclick",
}


class PictureError(NextclickError):
    """A picture that cannot be drawn; the text says why."""


def check_can_draw(path: Path) -> None:
    """Find out before hours of measuring whether the picture can be written; raises ``PictureError``."""
    if path.suffix not in SUFFIXES:
        raise PictureError(f"--picture is {path}: its name must end in one of {', '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise PictureError(f"--picture is {path}: there is no folder {path.parent}")
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise PictureError("--picture needs matplotlib: pip install 'nextclick[pictures]'") from error


def draw_comparison(result: dict[str, Any], path: Path) -> None:
    """Draw every method's Recall and MRR with their intervals, and Recall by the length of the session."""
    k, methods = result["k"], result["methods"]
    with figure(path, 11.0, 2.2 + 0.3 * len(methods), 3) as (recall, mrr, by_length):
        for axes, metric, title in ((recall, "recall", "Recall"), (mrr, "mrr", "MRR")):
            _draw_intervals(axes, methods, f"{metric}@{k}")
            axes.set_title(f"{title}@{k}, 95 % of resampled sessions")
        mrr.set_yticklabels([])  # the names stand at the first panel
        for colour, (name, figures) in zip(_colours(methods), methods.items(), strict=True):
            groups = figures["by_session_length"]
            heights = [group[f"recall@{k}"] for group in groups.values()]
            by_length.plot(list(groups), heights, color=colour, marker="o", ms=3, lw=1.2, label=name)
        by_length.set_title(f"Recall@{k} by the session's clicks")
        by_length.grid(True, axis="y")


def draw_replay(result: dict[str, Any], path: Path) -> None:
    """Draw Recall and MRR slice by slice: solid where the method learns on, dashed where it never does."""
    k = result["k"]
    slices = range(1, len(result["slices"]) + 1)
    with figure(path, 12.0, 4.0, 2) as panels:
        for axes, (metric, title) in zip(panels, (("recall", "Recall"), ("mrr", "MRR")), strict=True):
            for colour, (name, figures) in zip(
                _colours(result["methods"]), result["methods"].items(), strict=True
            ):
                for way, line, label in (("learning", "-", name), ("frozen", "--", f"{name}, never again")):
                    curve = [own[f"{metric}@{k}"] for own in figures[way]["curve"]]
                    axes.plot(slices, curve, line, color=colour, marker="o", ms=3, lw=1.2, label=label)
            axes.set_title(f"{title}@{k} of each slice, foretold before it is learnt from")
            axes.set_xlabel("slice of the replayed clicks, oldest first")
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.grid(True, axis="y")
        panels[0].figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center")


def _draw_intervals(axes: Any, methods: dict[str, Any], metric: str) -> None:
    """One point with its interval for each method, the first on top."""
    places = range(len(methods), 0, -1)
    for place, colour, figures in zip(places, _colours(methods), methods.values(), strict=True):
        low, high = figures["intervals"][metric]
        axes.plot([low, high], [place, place], color=colour, lw=2, solid_capstyle="butt")
        axes.plot([figures[metric]], [place], "o", color=colour, ms=5)
    axes.set_yticks(list(places), labels=list(methods))
    axes.set_ylim(0.4, len(methods) + 0.6)
    axes.grid(True, axis="x")


def _colours(names: Iterable[str]) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i, _ in enumerate(names)]


@contextmanager
def figure(path: Path, width: float, height: float, n_panels: int, *, stacked: bool = False) -> Iterator[Any]:
    """Panels side by side or one below the other, written to the file once they are drawn."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(width, height), dpi=150, layout="constrained")
        yield drawn.subplots(n_panels, 1) if stacked else drawn.subplots(1, n_panels)
        try:
            drawn.savefig(path)
        except OSError as error:
            raise PictureError(f"{path} cannot be written: {error.strerror or error}") from error
