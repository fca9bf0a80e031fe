"""What a figure is of: the machine, the versions, and how busy the machine was with other work."""

import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import psutil

from deploy.java import KAFKA_VERSION, JavaError, find_java

PACKAGES = (
    "aiokafka", "faiss-cpu", "faust-streaming", "kafka-python", "msgspec", "numpy", "rocksdict", "torch",
    "uvloop",
)  # fmt: skip
QUIET_LOAD = 0.3
"""A share of the cores that other programs may keep busy before figures are said to be of a busy machine."""


def machine() -> dict[str, Any]:
    """The machine, without its name or any path."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
    }


def versions() -> dict[str, str | None]:
    """Of everything that runs beside our own code, and the commit that that is at."""
    found: dict[str, str | None] = {
        "python": platform.python_version(),
        "kafka": KAFKA_VERSION,
        "java": _java(),
    }
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found | {"nextclick": _commit()}


def load() -> dict[str, Any]:
    """How busy the machine is: the load averages, and the share of the cores in use just now."""
    return {
        "load_average": [round(value, 2) for value in os.getloadavg()],
        "cores_busy": round(psutil.cpu_percent(interval=1.0) / 100, 3),
    }


def is_quiet(found: dict[str, Any]) -> bool:
    """Whether other programs left the machine alone when `load` was taken, before a benchmark."""
    return bool(found["cores_busy"] <= QUIET_LOAD)


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^flags\s*:\s*(.+)$", text, re.MULTILINE)
    wide = " with AVX-512" if flags and "avx512f" in flags[1] else ""
    return (model[1] if model else platform.machine()) + wide


def _java() -> str | None:
    try:
        answer = subprocess.run([find_java(), "-version"], capture_output=True, text=True, check=False)
    except JavaError:
        return None
    found = re.search(r'version "([^"]+)"', answer.stderr)
    return found[1] if found else None


def _commit() -> str | None:
    """The commit, with a + where files differ from it."""
    folder = Path(__file__).parent.parent
    command = ["git", "-C", str(folder), "describe", "--always", "--abbrev=8", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
