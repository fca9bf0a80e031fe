"""What a full training leaves behind while it runs, so that a killed one can go on with the same clicks.

A training's checkpoints (``model/resuming.py``) are of certain clicks; a trainer that starts again would read
others, up to now. So it notes which window it has read, by its begin and its end offsets, and reads that one
again, if its plan is the same and the window not too old.
"""

import hashlib
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from model.resuming import Checkpoint
from streams.manifest import TrainingWindow

MAX_AGE_MS: Final = 6 * 3_600_000
"""What was read longer ago is read anew."""
FORMAT_VERSION: Final = 1

_log = logging.getLogger(__name__)


class UnfinishedRun(msgspec.Struct, frozen=True):
    """The window of a training that has not ended."""

    plan: str
    began_ms: int
    from_ms: int
    ends: dict[int, int]
    format_version: int = FORMAT_VERSION


class Unfinished:
    """The folder of what is not finished yet; None in place of a folder keeps nothing."""

    def __init__(self, folder: Path | None, plan: str) -> None:
        """``plan`` is all that the training follows, as text."""
        self._folder = folder
        self._plan = hashlib.sha256(plan.encode()).hexdigest()

    def found(self, serving: TrainingWindow | None = None) -> UnfinishedRun | None:
        """The training to go on with; none where what serves has learnt from later clicks than that read."""
        if self._folder is None:
            return None
        try:
            run = msgspec.json.decode((self._folder / "run.json").read_bytes(), type=UnfinishedRun)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            _log.warning("what is in %s cannot be gone on with: %s", self._folder, error)
            return None
        fits = run.plan == self._plan and run.format_version == FORMAT_VERSION
        if not fits or time.time() * 1000 - run.began_ms >= MAX_AGE_MS:
            return None
        if serving is not None and any(
            part.end > run.ends.get(part.partition, 0) for part in serving.offsets
        ):
            _log.info("a training that was killed is not gone on with: what serves knows newer clicks")
            return None
        _log.info("going on with the training that began at %s", time.ctime(run.began_ms / 1000))
        return run

    def begin(self, from_ms: int, ends: Mapping[int, int]) -> None:
        """Note the window; a disk that is full costs the note, not the training."""
        if self._folder is None:
            return
        run = UnfinishedRun(self._plan, int(time.time() * 1000), from_ms, dict(ends))
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            beside = self._folder / "run.unfinished"
            beside.write_bytes(msgspec.json.encode(run))
            beside.replace(self._folder / "run.json")
        except OSError as error:
            _log.warning("cannot write to %s: %s", self._folder, error)

    def checkpoint(self, name: str) -> Checkpoint | None:
        """Where one of its trainings is kept."""
        return None if self._folder is None else Checkpoint(self._folder / f"{name}.safetensors")

    def end(self) -> None:
        """Nothing is left to go on with; a disk that cannot be written is no reason to fail any more."""
        if self._folder is None:
            return
        try:
            for file in sorted(self._folder.iterdir(), key=lambda file: file.suffix != ".json"):
                if file.suffix in (".json", ".safetensors", ".unfinished"):
                    file.unlink(missing_ok=True)
        except FileNotFoundError:
            pass
        except OSError as error:
            _log.warning("cannot remove what a training left in %s: %s", self._folder, error)
