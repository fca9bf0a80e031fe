"""``nextclick doctor``: what is missing on this machine or cluster, and the remedy."""

from dataclasses import asdict

from deploy.cli.options import Output, takes_settings
from deploy.diagnosis import Finding, State, examine
from deploy.settings import Settings
from streams.errors import NextclickError


class SomethingMissing(NextclickError):
    """The doctor found what keeps the product from running."""


@takes_settings(
    "clicks_topic",
    "recommendations_topic",
    "rejected_clicks_topic",
    "snapshots_topic",
    "clicks_partitions",
    "group",
    "alias",
)
def command(settings: Settings, output: Output) -> None:
    """Say what is missing on this machine or cluster, and the remedy; exit 1 if something is in the way."""
    findings: list[Finding] = []
    for finding in examine(settings):
        findings.append(finding)
        if not output.json:
            _tell(finding, output)
    missing = [finding.subject for finding in findings if finding.state is State.MISSING]
    output.result({"missing": missing, "findings": [asdict(finding) for finding in findings]})
    if missing:
        raise SomethingMissing(f"missing: {', '.join(missing)}")


def _tell(finding: Finding, output: Output) -> None:
    output.say(f"{finding.state:<8} {finding.subject}: {finding.found}")
    if finding.remedy:
        output.say(f"         → {finding.remedy}")
