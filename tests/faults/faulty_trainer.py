"""``nextclick`` with a trainer that kills itself at a named point of its cycle; else the product as it is."""

import os
import signal
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from deploy.cli.main import main

VARIABLE: Final = "FAULTY_TRAINER"


class TrainerPoint(StrEnum):
    """Where it may die: stages before anything is written, then every step of publishing."""

    READ = "read"  # the window is read
    TRAINED = "trained"
    ENCODER = "encoder"  # half of the encoder's file is written
    VOCABULARY = "vocabulary"  # the file is written, and so on
    INDEX = "index"
    MANIFEST = "manifest"  # all is written, and not yet verified
    VERIFIED = "verified"  # the folder has not its name yet
    RENAMED = "renamed"  # not announced
    ANNOUNCED = "announced"  # old snapshots not deleted
    DELETING = "deleting"  # of an old snapshot the manifest is gone


def die() -> None:
    """kill -9."""
    os.kill(os.getpid(), signal.SIGKILL)


def after(module: Any, name: str, deed: Callable[..., None] = lambda *arguments: die()) -> None:
    """Let a deed follow a function of the product; it gets the function's arguments."""
    function = getattr(module, name)

    def struck(*arguments: Any, **options: Any) -> Any:
        result = function(*arguments, **options)
        deed(*arguments)
        return result

    setattr(module, name, struck)


def before(module: Any, name: str) -> None:
    """Die instead of the function."""
    setattr(module, name, lambda *arguments, **options: die())


def cut_and_die(encoder: Any, path: Path) -> None:
    """Leave half a file."""
    os.truncate(path, path.stat().st_size // 2)
    die()


def build_in_fault(point: TrainerPoint) -> None:
    """Prepare this process to die there; to be called after the environment for OpenMP is set."""
    from model.vocabulary import Vocabulary
    from streams import publishing, snapshot, trainer, training

    match point:
        case TrainerPoint.READ:
            after(trainer, "read_window")
        case TrainerPoint.TRAINED:
            after(training, "train")
        case TrainerPoint.ENCODER:
            after(snapshot, "save_encoder", cut_and_die)
        case TrainerPoint.VOCABULARY:
            after(Vocabulary, "save")
        case TrainerPoint.INDEX:
            after(snapshot, "digest_of", lambda path: die() if path.name == snapshot.INDEX_FILE else None)
        case TrainerPoint.MANIFEST:
            after(snapshot, "_write_bundle")
        case TrainerPoint.VERIFIED:
            before(Path, "rename")
        case TrainerPoint.RENAMED:
            after(trainer, "save_snapshot")
        case TrainerPoint.ANNOUNCED:
            after(publishing, "announce")
        case TrainerPoint.DELETING:
            from fsspec.implementations.local import LocalFileSystem

            after(LocalFileSystem, "rm_file")


if __name__ == "__main__":
    from deploy.considerate import be_considerate

    be_considerate()
    build_in_fault(TrainerPoint(os.environ[VARIABLE]))
    main(["trainer", *sys.argv[1:]])
