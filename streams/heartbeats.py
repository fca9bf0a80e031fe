"""When the group's coordinator last counted on this member, as its answers say."""

from collections.abc import Callable
from typing import Any, Final

from aiokafka.protocol.group import HeartbeatRequest, SyncGroupRequest

from streams.ownership import awake_or_not_s

COUNTED_ON: Final = (0, 27)  # no error, and: a rebalance is in progress, of which this member is part


class Heartbeats:
    """Listens to what a consumer's client says to the coordinator; may be asked from any thread."""

    def __init__(self, now_s: Callable[[], float] = awake_or_not_s) -> None:
        self._now_s = now_s
        self._counted_on_s: float | None = None

    def listen(self, client: Any) -> None:
        """Listen to every request of this aiokafka client from now on."""
        send = client.send

        async def heard_send(node_id: int, request: Any, **options: Any) -> Any:
            # When it was asked: the answer may have been long on its way.
            asked_s = self._now_s()
            response = await send(node_id, request, **options)
            if isinstance(request, HeartbeatRequest | SyncGroupRequest) and response.error_code in COUNTED_ON:
                self._counted_on_s = asked_s
            return response

        client.send = heard_send

    def silence_s(self) -> float:
        """Give how long ago the coordinator was asked last of what it has answered since; 0 before that."""
        return 0.0 if self._counted_on_s is None else self._now_s() - self._counted_on_s
