"""The quick selection of the fault table that every check runs; ``make faults`` runs all of it."""

from pathlib import Path

import pytest

from deploy.broker import LocalKafka
from tests.faults.cluster import Clusters
from tests.faults.rows import Row, Size, all_rows
from tests.faults.stage import open_stage

pytestmark = pytest.mark.kafka


@pytest.mark.parametrize("row", [row for row in all_rows() if row.quick], ids=lambda row: f"row-{row.number}")
def test_row_holds(row: Row, kafka: LocalKafka, tmp_path: Path) -> None:
    clusters = Clusters(tmp_path, kafka)
    with clusters.of(row) as cluster, open_stage(cluster, tmp_path / "row", print) as stage:
        findings = row.run(stage, Size.QUICK)
    if findings.skipped:
        pytest.skip(findings.skipped)
    assert not findings.problems, findings.figures
