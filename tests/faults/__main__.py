"""Run the fault table: ``python -m tests.faults [--rows 1 7] [--short]``, or ``make faults``.

One row after the other, each on topics of its own; a row that does not hold does not keep the others from
being run. What was seen goes to a JSON file and a table; the exit code is 1 where a row does not hold.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from benchmarks.report import RESULTS, Report, command, print_table, say
from tests.faults.cluster import Clusters, NamedCluster
from tests.faults.rows import Findings, Row, Size, all_rows
from tests.faults.stage import clean_environment, open_stage

WORDS = {True: "held", False: "NOT HELD"}


def main() -> None:
    """Parse the flags and run the rows."""
    rows = {row.number: row for row in all_rows()}
    flags = argparse.ArgumentParser(prog="python -m tests.faults", description="Run the fault table.")
    flags.add_argument("--rows", type=int, nargs="+", choices=list(rows), default=list(rows), metavar="N")
    flags.add_argument(
        "--size", type=Size, choices=list(Size), default=Size.FULL, help="how much of each row is run"
    )
    flags.add_argument(
        "--short",
        dest="size",
        action="store_const",
        const=Size.SHORT,
        help="cut the long pauses and repetitions",
    )
    flags.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON file")
    flags.add_argument("--note", default="", help="a remark to keep in the JSON file")
    given = flags.parse_args()
    servers = os.environ.get("NEXTCLICK_BOOTSTRAP_SERVERS")
    clean_environment()
    conditions = {
        "size": given.size,
        "shortened": given.size is not Size.FULL,
        "rows": given.rows,
        "kafka": "brokers on this machine" if servers is None else "a named cluster",
    }
    report = Report("faults", conditions, given.results, given.note)
    report.body["rows"] = run_rows([rows[number] for number in given.rows], given.size, servers)
    report.write()
    tell(report.body["rows"], given.size)
    if not all(one["held"] for one in report.body["rows"]):
        sys.exit(1)


def run_rows(rows: list[Row], size: Size, servers: str | None) -> list[dict[str, Any]]:
    """Run all; what is left of a row that does not hold stays in its folder."""
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    clusters = Clusters(folder, NamedCluster(servers) if servers else None)
    results: list[dict[str, Any]] = []
    try:
        for row in rows:
            results.append(run_row(row, size, clusters, folder))
    finally:
        clusters.close()
        if all(one["held"] for one in results):  # so far, where the run was interrupted
            shutil.rmtree(folder, ignore_errors=True)
        else:
            for kafka in folder.glob("kafka*"):
                shutil.rmtree(kafka, ignore_errors=True)
            say(f"the logs of the workers are in {folder}")
    return results


def run_row(row: Row, size: Size, clusters: Clusters, folder: Path) -> dict[str, Any]:
    """Run one row and tell what was seen."""
    say(f"row {row.number}: {row.fault}")
    began = time.monotonic()
    row_folder = folder / f"row-{row.number:02}"
    try:
        with clusters.of(row) as kafka, open_stage(kafka, row_folder, say) as stage:
            findings = row.run(stage, size)
    except Exception as error:
        traceback.print_exc()
        findings = Findings(problems=[f"{type(error).__name__}: {error}"])
    seconds = round(time.monotonic() - began, 1)
    held = not findings.problems and not findings.skipped
    if held:
        shutil.rmtree(row_folder, ignore_errors=True)
    word = "skipped" if findings.skipped else WORDS[held]
    say(f"row {row.number}: {word} after {seconds:.0f} s {findings.figures}")
    for problem in findings.problems:
        say(f"row {row.number}: {problem}")
    return {
        "row": row.number,
        "fault": row.fault,
        "must_show": row.must_show,
        "held": held,
        "skipped": findings.skipped,
        "seconds": seconds,
        "problems": findings.problems,
        "figures": findings.figures,
    }


def tell(results: list[dict[str, Any]], size: Size) -> None:
    """Print the table, and below it the figures of each row."""
    print(f"\nThe fault table, {size}\n")
    print_table(
        [
            {
                "row": str(one["row"]),
                "fault": one["fault"],
                "": "skipped" if one["skipped"] else WORDS[one["held"]],
                "seconds": one["seconds"],
            }
            for one in results
        ]
    )
    print()
    for one in results:
        figures = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in one["figures"].items())
        print(f"{one['row']:>2}: {figures}")
        if one["skipped"]:
            print(f"    skipped: {one['skipped']}")
        for problem in one["problems"]:
            print(f"    NOT HELD: {problem}")


if __name__ == "__main__":
    command(main)
