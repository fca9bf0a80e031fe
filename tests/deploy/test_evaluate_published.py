"""The methods that others recommend by give the figures that their authors' code gives on the same clicks.

Measured with that code, with ties in the method's favour as it counts them; Recall@20 and MRR@20.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploy.cli.main import run

# In yoochoose100k only those that are quick; all of them were compared once.
PUBLISHED = {
    "yoochoose100k": {
        "session-popular": (0.3816, 0.2824),
        "item-knn": (0.4096, 0.1862),
        "association-rules": (0.6340, 0.3374),
        "sequential-rules": (0.6199, 0.3608),
    },
    "serenade": {
        "association-rules": (0.5231, 0.2624),
        "sequential-rules": (0.4844, 0.2975),
        "v-sknn": (0.6359, 0.2028),
        "stan": (0.6692, 0.2533),
        "vstan": (0.6649, 0.2249),
    },
}


@pytest.mark.parametrize("log", PUBLISHED)
def test_the_figures_are_those_of_the_authors_code(
    log: str, data_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {which: str(data_folder / log / f"{which}.tsv.gz") for which in ("train", "test")}
    expected = PUBLISHED[log]
    flags = ["--methods", ",".join(expected), "--ties", "for", "--json"]
    assert run(["evaluate", "--train", files["train"], "--test", files["test"], *flags]) == 0
    measured = json.loads(capsys.readouterr().out)["methods"]
    for method, (recall, mrr) in expected.items():
        assert measured[method]["recall@20"] == pytest.approx(recall, abs=0.005), method
        assert measured[method]["mrr@20"] == pytest.approx(mrr, abs=0.005), method
