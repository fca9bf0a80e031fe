"""``nextclick`` with a fault built in: the first fetch after each return to committed offsets is lost."""

from typing import Any

from faust.types import TP

from deploy.cli.main import main
from streams.intake import BatchConsumer, BatchTransport


class Forgetful(BatchConsumer):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._forgets: set[TP] = set()

    async def perform_seek(self) -> None:
        await super().perform_seek()
        self._forgets |= {tp for tp in self.assignment() if not self._is_changelog_tp(tp)}

    async def _wait_next_records(self, timeout: float) -> Any:
        fetched, active = await super()._wait_next_records(timeout)
        for tp in self._forgets & (fetched or {}).keys():
            self._forgets.discard(tp)
            print(f"forgot {len(fetched.pop(tp))} clicks of {tp}", flush=True)
        return fetched, active


if __name__ == "__main__":
    BatchTransport.Consumer = Forgetful
    main()
