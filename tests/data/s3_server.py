"""An S3 server of this machine's own, moto's, for tests that need a real one."""

import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


@contextmanager
def s3_server(bucket: str) -> Iterator[Any]:
    """s3fs, signed in to a server that holds this bucket; the environment points there, too."""
    moto = pytest.importorskip("moto.server", reason="needs moto's S3 server: pip install 'moto[s3]' flask flask-cors")
    s3fs = pytest.importorskip("s3fs", reason="needs s3fs: the extra `remote`")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}.items():
            environment.setenv(name, value)
        # What an earlier server of this process was given is still known.
        urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()
        s3fs.S3FileSystem.clear_instance_cache()
        system = s3fs.S3FileSystem(use_listings_cache=False)
        system.mkdir(bucket)
        try:
            yield system
        finally:
            s3fs.S3FileSystem.clear_instance_cache()
            server.stop()


@contextmanager
def rights_checked() -> Iterator[None]:
    """Inside, the server turns down whoever it does not know, which is everybody."""
    _let_in(0)
    try:
        yield
    finally:
        _let_in(10**9)


def _let_in(requests: int) -> None:
    address = f"{os.environ['AWS_ENDPOINT_URL']}/moto-api/reset-auth"
    told = urllib.request.Request(address, str(requests).encode(), {"Content-Type": "text/plain"})
    urllib.request.urlopen(told).close()
