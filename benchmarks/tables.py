"""The tables of the README files, made from the newest results; nobody copies a figure by hand.

Each table stands between two comments in a Markdown file. Run after results were added: it rewrites them and
prints how well the runs of ``bench-stream`` agree. A test fails where a table differs from the results.
"""

from collections.abc import Callable, Iterator, Mapping

from benchmarks import faulted, figures, fresh_tables, learnt, trainer_tables
from benchmarks.kept import ROOT, Results, read_results
from benchmarks.report import command, print_table, say
from streams.errors import NextclickError

NOTE = "made by `make bench-tables` from benchmarks/results, do not edit"


class TableError(NextclickError):
    """A file without the place for its table."""


PLACES: Mapping[str, Mapping[str, Callable[[Results], Iterator[str]]]] = {
    "README.md": {"accuracy": learnt.best_of_each, "marks": figures.marks},
    "benchmarks/README.md": {
        "stream": figures.stream,
        "latency": figures.latency,
        "scale": figures.scale,
        "recovery": figures.recovery,
        "memory": figures.memory,
        "swap": figures.swap,
        "training": learnt.training,
        "fresh": fresh_tables.live,
        "trainer": trainer_tables.cycles,
    },
    "docs/model.md": {
        "ablation": learnt.ablation,
        "fresh": fresh_tables.foretold,
        "refreshing": trainer_tables.refreshing,
    },
    "docs/evaluation.md": {"accuracy": learnt.accuracy},
    "docs/operations.md": {"one worker": figures.one_worker, "sizes": figures.sized},
    "docs/faults.md": {"faults": faulted.faults},
}


def with_tables(text: str, tables: Mapping[str, Callable[[Results], Iterator[str]]], results: Results) -> str:
    """Replace what stands between the comments of each table; raises TableError where they are not there."""
    for name, make in tables.items():
        begin, end = f"<!-- {name}: {NOTE} -->\n", f"<!-- {name}: end -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise TableError(f"there is no place for the table {name!r}: it needs {begin.strip()} and {end}")
        text = "".join((before, begin, "\n".join(["", *make(results), "", ""]), end, after))
    return text


def main() -> None:
    """Rewrite the tables and show the agreement of ``bench-stream``'s runs."""
    results = read_results()
    for name, tables in PLACES.items():
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        new = with_tables(text, tables, results)
        path.write_text(new, encoding="utf-8")
        say(f"{name}: {'rewritten' if new != text else 'up to date'}")
    print_table(figures.agreement(results))


if __name__ == "__main__":
    command(main)
