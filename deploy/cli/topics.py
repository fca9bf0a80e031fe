"""``nextclick topics create|show``: the product's topics as they should be, and as they are."""

from typing import Any

import typer

from deploy.cli.options import Output, takes_settings
from deploy.settings import Settings
from streams.topics import TopicReport, create_topics, inspect_topics

app = typer.Typer(no_args_is_help=True, help="Create the topics, or show how they are set up.")

_SETTINGS = (
    "clicks_topic",
    "recommendations_topic",
    "rejected_clicks_topic",
    "snapshots_topic",
    "quality_topic",
    "clicks_partitions",
    "group",
)


@app.command()
@takes_settings(*_SETTINGS)
def create(settings: Settings, output: Output) -> None:
    """Create the topics that are absent; say where existing ones differ from what is wished."""
    reports = create_topics(settings.connection(), settings.topics(), settings.clicks_partitions)
    _tell(reports, output)


@app.command()
@takes_settings(*_SETTINGS)
def show(settings: Settings, output: Output) -> None:
    """Show the topics and where they differ from what is wished; change nothing."""
    reports = inspect_topics(settings.connection(), settings.topics(), settings.clicks_partitions)
    _tell(reports, output)


def _tell(reports: list[TopicReport], output: Output) -> None:
    if output.json:
        output.result({"topics": [_entry(report) for report in reports]})
        return
    for report in reports:
        wished = report.wished
        output.say(f"{wished.name}: {_state(report)}")
        for difference in report.differences:
            output.say(f"  differs: {difference}")
        if report.created:
            configs = ", ".join(f"{key}={value}" for key, value in wished.configs.items())
            output.say(f"  partitions {wished.n_partitions}, replication {wished.replication}, {configs}")
    if any(report.differences for report in reports):
        output.say(
            "existing topics were left as they are; change them with Kafka's own tools where it matters"
        )


def _state(report: TopicReport) -> str:
    if report.created:
        return "created"
    if not report.exists:
        return "absent; nextclick topics create makes it"
    return "differs from what is wished" if report.differences else "as wished"


def _entry(report: TopicReport) -> dict[str, Any]:
    return {
        "name": report.wished.name,
        "exists": report.exists,
        "created": report.created,
        "differences": list(report.differences),
    }
