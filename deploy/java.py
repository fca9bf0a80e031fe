"""Java and Apache Kafka's own jars: found, or fetched once by Maven into the user's cache."""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from streams.errors import NextclickError

KAFKA_VERSION = "4.1.0"
MINIMUM_JAVA = 17
KAFKA_FOLDER = Path(__file__).parent / "kafka"

_INSTALL = (
    "make setup installs it where it may; by hand: apt-get install {package}, or your system's equivalent"
)


class JavaError(NextclickError):
    """Java, Maven or Kafka's jars are missing; the text says what to install."""


def find_java() -> str:
    """Return the path of a Java that runs Kafka; raises JavaError where there is none or it is too old."""
    java = _program("java", os.environ.get("JAVA_HOME"))
    if java is None:
        hint = _INSTALL.format(package="default-jre-headless")
        raise JavaError(f"Java {MINIMUM_JAVA} or newer is missing, Kafka runs on it; {hint}")
    answer = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    found = re.search(r'version "(\d+)', answer.stderr)
    if found is None or int(found[1]) < MINIMUM_JAVA:
        version = found[1] if found else "of unknown version"
        raise JavaError(f"{java} is Java {version}, Kafka {KAFKA_VERSION} needs {MINIMUM_JAVA} or newer")
    return java


def find_maven() -> str:
    """Return the path of Maven; raises JavaError where there is none."""
    maven = _program("mvn", os.environ.get("MAVEN_HOME"))
    if maven is None:
        hint = _INSTALL.format(package="maven")
        raise JavaError(f"Maven (mvn) is missing, it fetches Kafka {KAFKA_VERSION}; {hint}")
    return maven


def jars_folder() -> Path:
    """Return where Kafka's jars are or will be; another pom.xml has another folder."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    pom = hashlib.sha256((KAFKA_FOLDER / "pom.xml").read_bytes()).hexdigest()[:8]
    return cache / "nextclick" / f"kafka-{KAFKA_VERSION}" / pom


def fetch_jars(say: Callable[[str], None] = lambda line: None) -> Path:
    """Return the folder of Kafka's jars, fetching them first where they are absent; raises JavaError.

    Maven writes to a folder of its own that takes its final name only when complete, so that processes which
    fetch at the same time, or are killed, never leave half a Kafka behind.
    """
    folder = jars_folder()
    if folder.is_dir():
        return folder
    maven = find_maven()
    say(f"fetching Apache Kafka {KAFKA_VERSION} (45 MB, once) into {folder}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="fetching-") as scratch:
            # Beside its own copy of the pom, because Maven wants to write there and a wheel may be read-only.
            pom = Path(shutil.copy(KAFKA_FOLDER / "pom.xml", scratch))
            jars = Path(scratch) / "jars"
            _copy_dependencies(maven, pom, jars)
            try:
                jars.rename(folder)
            except OSError:
                if not folder.is_dir():  # else another process was first, with the same jars
                    raise
    except OSError as error:
        raise JavaError(f"cannot write Kafka's jars to {folder}: {error.strerror or error}") from error
    return folder


def _copy_dependencies(maven: str, pom: Path, jars: Path) -> None:
    command = [maven, "-B", "-q", "-f", str(pom), "dependency:copy-dependencies"]
    options = ["-DincludeScope=runtime", f"-DoutputDirectory={jars}"]
    answer = subprocess.run(
        [*command, *options], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if answer.returncode or not any(jars.glob("kafka_*.jar")):
        complaints = re.findall(r"\[ERROR\]\s+(.+)", answer.stdout + answer.stderr)
        reason = complaints[0] if complaints else f"exit code {answer.returncode}"
        raise JavaError(f"Maven could not fetch Kafka {KAFKA_VERSION}: {reason}")


def _program(name: str, home: str | None) -> str | None:
    if home:
        inside = shutil.which(name, path=str(Path(home) / "bin"))
        if inside:
            return inside
    return shutil.which(name)
