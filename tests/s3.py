"""An S3 server for the tests: SeaweedFS, on ports of its own, with a bucket and credentials."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sluice.storage.objects import ObstoreObjects
from sluice.storage.ports import ObjectFault
from sluice.values.secret import Secret
from sluice.values.settings import ObjectSettings

KEY, SECRET = "AKTEST", "secret-of-the-test"
DEADLINE_S = 60.0
_PORTS = ("master.port", "volume.port", "filer.port", "s3.port")


@contextmanager
def server(folder: Path) -> Iterator[ObjectSettings]:
    """The settings of a bucket in a server that takes objects."""
    ports = _free_ports()
    config = folder / "s3.json"
    credentials = [{"accessKey": KEY, "secretKey": SECRET}]
    actions = ["Admin", "Read", "Write", "List"]
    config.write_text(json.dumps({"identities": [{"name": "test", "credentials": credentials, "actions": actions}]}))
    (folder / "logs").mkdir()
    program = str(Path(sys.executable).parent / "weed")
    command = [program, "-logtostderr=false", f"-logdir={folder}/logs", "server", "-s3", f"-dir={folder}"]
    command += [
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-master.telemetry=false",
        "-volume.max=20",
        "-s3.port.iceberg=0",  # several runs of tests may have a server each, and these ports would be fixed
        "-s3.port.lance=0",
        f"-s3.config={config}",
    ]
    command += [f"-{name}={port}" for name, port in ports.items()]
    place = ObjectSettings("s3://packs/here", f"http://127.0.0.1:{ports['s3.port']}", "us-east-1", KEY, Secret(SECRET))
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as weed:
        try:
            _wait_for(place)
            yield place
        finally:
            os.killpg(weed.pid, signal.SIGKILL)
            _remove_sockets(ports.values())


def _wait_for(place: ObjectSettings) -> None:
    """Until it has stored an object; the first makes the bucket."""
    objects = ObstoreObjects.open(place)
    give_up_s = time.monotonic() + DEADLINE_S
    while True:
        try:
            return objects.put("warm", b"x")
        except ObjectFault:
            if time.monotonic() > give_up_s:
                raise
            time.sleep(0.1)  # it tells nobody when it is ready


def _remove_sockets(ports: Iterable[int]) -> None:
    """It makes them in this folder whatever it is told, and takes none along when it is killed."""
    for port in ports:
        for number in (port, port + 10_000):
            for path in Path("/tmp").glob(f"seaweedfs-*-{number}.sock"):
                path.unlink(missing_ok=True)


def _free_ports() -> dict[str, int]:
    """Under 45,000: each has another one 10,000 above it."""
    found: dict[str, int] = {}
    while len(found) < len(_PORTS):
        port = random.randrange(20_000, 30_000)
        try:
            for number in (port, port + 10_000):
                with socket.create_server(("127.0.0.1", number)):
                    pass
        except OSError:
            continue
        if port not in found.values():
            found[_PORTS[len(found)]] = port
    return found
