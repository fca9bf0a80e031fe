"""A real S3 server for tests: moto's, in a thread, spoken to over HTTP like any other."""

from collections.abc import Iterator
from contextlib import contextmanager

import s3fs
from moto.server import ThreadedMotoServer

BUCKET = "nextclick"


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """An empty bucket ``nextclick``; gives the variables that lead s3fs there."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    try:
        address = environment["AWS_ENDPOINT_URL"]
        store = s3fs.S3FileSystem(
            key="tests", secret="secret", endpoint_url=address, skip_instance_cache=True
        )
        store.mkdir(BUCKET)
        yield environment
    finally:
        server.stop()
