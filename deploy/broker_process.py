"""One Kafka broker as a process of this machine: its folder, its start, its end, and what it died of."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from streams.errors import NextclickError

# The broker ends with the thread that started it, whatever that died of. PR_SET_PDEATHSIG survives exec; a
# launcher and not preexec_fn, which may deadlock in a process with threads.
_LAUNCHER = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


class BrokerError(NextclickError):
    """The local broker cannot start or died; the text says why and what to do."""


class BrokerProcess:
    """Broker ``node_id`` with all its files in ``folder``; ``java`` is the command up to the main class."""

    def __init__(self, node_id: int, folder: Path, java: Sequence[str]) -> None:
        self.node_id = node_id
        self.folder = folder
        self._java = [*java[:1], f"-Dnextclick.log={folder / 'kafka.log'}", *java[1:]]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def data_folder(self) -> Path:
        """Where Kafka keeps its log."""
        return self.folder / "data"

    @property
    def cluster_id(self) -> str | None:
        """The cluster that the folder belongs to, None when it is new; BrokerError for another node's."""
        try:
            text = (self.data_folder / "meta.properties").read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        found = dict(re.findall(r"^([\w.]+)=(.*)$", text, re.MULTILINE))
        if found.get("node.id") != str(self.node_id) or "cluster.id" not in found:
            raise BrokerError(
                f"{self.data_folder} holds the data of broker {found.get('node.id')} of another cluster;"
                " choose another folder with --home, or remove it"
            )
        return str(found["cluster.id"])

    def write_properties(self, text: str) -> None:
        """Write ``server.properties``, readable by nobody else: it may hold passwords."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "server.properties"
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")

    def format(self, cluster_id: str, users: Mapping[str, str]) -> None:
        """Make the empty folder a part of the cluster; users are stored for SCRAM."""
        logins = [
            f"{mechanism}=[name={name},password={password}]"
            for name, password in users.items()
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
        ]
        options = [word for login in logins for word in ("--add-scram", login)]
        command = [*self._java, "kafka.tools.StorageTool", "format", "-t", cluster_id]
        answer = subprocess.run(
            [*command, "-c", str(self.folder / "server.properties"), *options],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if answer.returncode:
            lines = (answer.stderr or answer.stdout).strip().splitlines() or ["no reason given"]
            raise BrokerError(f"cannot prepare {self.data_folder} for Kafka: {lines[-1]}")

    def launch(self) -> None:
        """Start the process and return at once."""
        launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid())]
        kafka = [*self._java, "kafka.Kafka", str(self.folder / "server.properties")]
        # A session of its own: Ctrl-C reaches only us, and we stop the broker when everything else has ended.
        with (self.folder / "output.log").open("wb") as output:
            self._process = subprocess.Popen(
                [*launcher, *kafka],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def launched(self) -> bool:
        """Whether it was started and not stopped since, even if it died."""
        return self._process is not None

    def signal(self, signal_number: signal.Signals) -> None:
        """Send a signal unless the process has ended."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal_number)

    def wait(self, timeout_s: float) -> None:
        """Wait for the end, and bring it about by force when it takes too long."""
        if self._process is None:
            return
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def raise_if_dead(self) -> None:
        """Raise BrokerError with Kafka's own reason if the process ended by itself."""
        if self._process is not None and self._process.poll() is not None:
            raise BrokerError(
                f"Kafka ended by itself: {self._last_error()} (see {self.folder / 'kafka.log'})"
            )

    def _last_error(self) -> str:
        for name in ("output.log", "kafka.log"):
            try:
                text = (self.folder / name).read_text(encoding="utf-8", errors="replace")
            except FileNotFoundError:
                continue
            errors = re.findall(r"^(?:.* (?:ERROR|FATAL) |\S*(?:Exception|Error)[: ]).*$", text, re.MULTILINE)
            if errors:
                return str(errors[-1]).strip()
        return "no reason given"
