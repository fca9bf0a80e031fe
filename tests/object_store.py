"""A real S3 server for tests: moto's, in a thread, spoken to over HTTP like any other."""

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

BUCKET = "nextclick"


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """An empty bucket ``nextclick``; gives the variables that lead s3fs there."""
    import s3fs  # only where they are needed: together they take a second to import
    from moto.server import ThreadedMotoServer

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
        # What a server of this process kept before is still there: moto holds it in the module.
        urllib.request.urlopen(f"{address}/moto-api/reset", data=b"").close()
        store = s3fs.S3FileSystem(
            key="tests", secret="secret", endpoint_url=address, skip_instance_cache=True
        )
        store.mkdir(BUCKET)
        s3fs.S3FileSystem.clear_instance_cache()  # fsspec would go on asking a server that was here before
        yield environment
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
        server.stop()
