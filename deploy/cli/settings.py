"""``nextclick settings``: every setting, its value and where it came from."""

from collections.abc import Mapping
from itertools import groupby
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from deploy.cli.options import Output, takes_settings
from deploy.settings import Settings
from deploy.settings_sources import flag_of, may_be, shown, variable_of

MARKDOWN_HEAD = """\
# Settings

Defaults < `nextclick.toml` in the current folder < environment variables < flags. In `nextclick.toml` a
setting stands under its own name: `top_k = 10`. Each command takes the flags of the settings it uses; the
flags under Kafka and `--home` go with every command, before or after its name. `nextclick settings` shows
the values in force and where each came from. `nextclick tune` writes the searched settings of Training into
`nextclick.toml`; `evaluate` takes those of the network and its training, with a `--seed` of its own.

Written by `nextclick settings --markdown`; a test compares.
"""


@takes_settings(*Settings.model_fields)
def command(
    settings: Settings,
    origins: Mapping[str, str],
    output: Output,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print docs/settings.md.")] = False,
) -> None:
    """Show every setting, its value and where it came from; secrets are masked."""
    if markdown:
        print(settings_page(), end="")
    elif output.json:
        output.result({name: _entry(settings, name, origins[name]) for name in Settings.model_fields})
    else:
        _print_table(settings, origins)


def settings_page() -> str:
    """Return docs/settings.md, made from the settings' own descriptions."""
    lines = [MARKDOWN_HEAD.rstrip()]
    for group, names in groupby(Settings.model_fields, key=group_of):
        lines.append(f"\n## {group}\n")
        lines.append("| setting | default | may be | meaning |\n| --- | --- | --- | --- |")
        for name in names:
            field = Settings.model_fields[name]
            default = "" if field.default is None else f"`{field.default}`"
            spelled = f"`{name}`<br>`{flag_of(name)}`<br>`{variable_of(name)}`"
            lines.append(f"| {spelled} | {default} | {may_be(name)} | {field.description} |")
    return "\n".join(lines) + "\n"


def group_of(name: str) -> str:
    """Return the heading a setting stands under."""
    extra = Settings.model_fields[name].json_schema_extra
    return str(extra["group"]) if isinstance(extra, dict) else ""


def _entry(settings: Settings, name: str, origin: str) -> dict[str, Any]:
    value = getattr(settings, name)
    plain = value if value is None or isinstance(value, (int, float)) else shown(name, value)
    return {"value": plain, "origin": origin}


def _print_table(settings: Settings, origins: Mapping[str, str]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("setting", "value", "from"):
        table.add_column(heading, overflow="fold")
    for name in Settings.model_fields:
        table.add_row(name, shown(name, getattr(settings, name)), origins[name])
    Console().print(table)
