"""The forwarding agent: sends the bytes of every click on to another topic, and does nothing else."""

from typing import Any

import faust

from benchmarks.peers.plain import arguments, make_app, raw_topic, run


def declare(app: faust.App, clicks: Any, output: Any) -> None:
    """Declare the agent."""

    async def forward(stream: Any) -> None:
        async for event in stream.events():
            await output.send(key=event.key, value=event.value)

    app.agent(clicks, concurrency=1)(forward)


def main() -> None:
    """Run the peer."""
    asked = arguments(__doc__).parse_args()
    app = make_app(asked)
    declare(app, raw_topic(app, asked.clicks), raw_topic(app, asked.output))
    run(app)


if __name__ == "__main__":
    main()
