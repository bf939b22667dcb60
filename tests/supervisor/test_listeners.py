"""The sockets that the supervisor opens."""

import socket
from contextlib import closing
from pathlib import Path

import pytest

from sluice.supervisor import listeners


def test_sockets_share_a_port_but_a_probe_sees_that_it_is_taken():
    with closing(listeners.open_tcp("127.0.0.1", 0)) as first:
        port = first.getsockname()[1]
        with closing(listeners.open_tcp("127.0.0.1", port)), pytest.raises(listeners.PortTaken):
            listeners.probe("127.0.0.1", port)
    listeners.probe("127.0.0.1", port)


def test_a_socket_that_only_is_bound_takes_no_connection():
    with (
        closing(listeners.open_tcp("127.0.0.1", 0, listening=False)) as bound,
        pytest.raises(ConnectionRefusedError),
    ):
        socket.create_connection(bound.getsockname())


def test_closed_connections_do_not_keep_the_port():
    with closing(listeners.open_tcp("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        with closing(socket.create_connection(address)) as client:
            listener.accept()[0].close()  # the server closes first, so the port is left in TIME_WAIT
            assert client.recv(1) == b""
    listeners.probe(*address)


def test_an_address_that_is_not_ours_is_told_from_a_taken_port():
    with pytest.raises(listeners.PortTaken, match=r"^Cannot listen on 192\.0\.2\.1 port 0"):
        listeners.probe("192.0.2.1", 0)


def test_a_unix_socket_takes_the_place_of_one_left_behind(tmp_path: Path):
    path = tmp_path / "console.sock"
    listeners.open_unix(path).close()
    with closing(listeners.open_unix(path)) as listener, closing(socket.socket(socket.AF_UNIX)) as client:
        client.connect(str(path))
        listener.accept()[0].close()
        assert path.stat().st_mode & 0o777 == 0o600
        assert [entry.name for entry in tmp_path.iterdir()] == ["console.sock"]


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("::1", "http://[::1]:80"),
        ("gateway.test", "http://gateway.test:80"),
    ],
)
def test_the_address_shown_is_one_that_can_be_opened(host: str, url: str):
    assert listeners.url_of(host, 80) == url
