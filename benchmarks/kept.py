"""The results that are kept: read, and the one of each kind that counts chosen."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import RESULTS

ROOT = Path(__file__).parent.parent

Found = dict[str, Any]
Results = Mapping[str, Sequence[Found]]  # by kind, oldest first


def read_results(folder: Path = RESULTS) -> Results:
    """Read all result files; gives them by kind, oldest first."""
    found: dict[str, list[Found]] = {}
    for path in sorted(folder.glob("*.json")):
        one = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(one, dict) and "benchmark" in one:
            found.setdefault(one["benchmark"], []).append(one)
    return found


def newest(results: Results, kind: str) -> Found | None:
    """Give the newest result of a kind; where some were measured on a quiet machine, the newest of those."""
    of_kind = results.get(kind, ())
    quiet = [one for one in of_kind if one["load"]["quiet_at_start"] and one.get("counts", True)]
    kept = quiet or of_kind
    return kept[-1] if kept else None
