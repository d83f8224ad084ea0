"""One Ray and one object store for all integration tests of a process: starting either takes seconds."""

import pytest
import ray
from moto.server import ThreadedMotoServer

from tumorprog import storage


@pytest.fixture(scope="session")
def store():
    """The address of an empty bucket of an S3 server on the loopback, with the environment needed to reach it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        fs, bucket = storage.file_system(storage.as_path("s3://archive"))
        fs.mkdir(bucket)
        yield "s3://archive"
    server.stop()


@pytest.fixture(scope="session")
def local_ray(store):
    """A Ray of two cores, whose workers can reach the store because they inherit the environment."""
    del store
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()
