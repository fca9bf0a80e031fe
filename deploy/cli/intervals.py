"""Lengths of time on the command line."""

import re
from typing import Final

import typer

UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def parse_interval(text: str, flag: str = "--every") -> float:
    """Seconds of ``90s``, ``15m``, ``1h``, ``1d``."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if match is None or not float(match[1]) > 0:
        raise typer.BadParameter(f"{flag} is {text!r}, it must be a length of time such as 90s, 15m or 1h")
    return float(match[1]) * UNITS_S[match[2]]
