"""An S3 service on loopback (moto's), as MinIO or AWS would be."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import boto3
from moto.server import ThreadedMotoServer

SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCYsecret"


class S3:
    """The service; what it holds stays while it is away."""

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._port = 0
        self._folders = count(1)
        self.start()
        self.variables = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._port}",
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "eu-central-1",
        }

    def start(self) -> None:
        """It answers, again at the same port."""
        self._server = ThreadedMotoServer("127.0.0.1", self._port, verbose=False)
        self._server.start()
        _, self._port = self._server.get_host_and_port()

    def stop(self) -> None:
        """It is away."""
        self._server.stop()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Inside, it is."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def unused(self, bucket: "boto3.resources.base.ServiceResource") -> str:
        """The URL of a folder of the bucket in which nothing is yet."""
        return f"s3://{bucket.name}/{next(self._folders)}"

    def bucket(self, name: str) -> "boto3.resources.base.ServiceResource":
        """A new bucket."""
        resource = boto3.resource(
            "s3",
            endpoint_url=self.variables["AWS_ENDPOINT_URL"],
            aws_access_key_id=self.variables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=SECRET,
            region_name=self.variables["AWS_REGION"],
        )
        region = {"LocationConstraint": self.variables["AWS_REGION"]}
        return resource.create_bucket(Bucket=name, CreateBucketConfiguration=region)


@contextmanager
def serving() -> Iterator[S3]:
    """The service, which this process's variables name."""
    s3 = S3()
    before = {name: os.environ.get(name) for name in s3.variables}
    os.environ.update(s3.variables)
    try:
        yield s3
    finally:
        s3.stop()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
