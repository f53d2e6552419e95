"""Network streams from real servers on the loopback address."""

import itertools
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import pytest
from clips import encode, number_in, picture

from tracker.core import TrackerError
from tracker.sources import open_source, open_stream
from tracker.streams import StreamCapture, shown


@contextmanager
def server(serve: Callable[[socket.socket, int], None]) -> Iterator[int]:
    """The port at which each connection is handed to ``serve`` with its number, in a thread of its own."""
    listener = socket.create_server(("127.0.0.1", 0))
    open_ones: list[socket.socket] = []

    def answer(connection: socket.socket, number: int) -> None:
        with suppress(OSError), connection:
            serve(connection, number)

    def accept() -> None:
        with suppress(OSError):
            while True:
                open_ones.append(listener.accept()[0])
                threading.Thread(target=answer, args=(open_ones[-1], len(open_ones) - 1), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        for one in (listener, *open_ones):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


def send_mjpeg(connection: socket.socket, numbers: Iterator[int], pause: float = 0.03) -> None:
    """An http answer of numbered JPEG pictures, as cameras give it."""
    connection.recv(4096)
    connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=picture\r\n\r\n")
    for number in numbers:
        data = bytes(cv2.imencode(".jpg", cv2.cvtColor(picture(number), cv2.COLOR_RGB2BGR))[1])
        head = f"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
        connection.sendall(head.encode() + data + b"\r\n")
        threading.Event().wait(pause)


def endless() -> Iterator[int]:
    number = 0
    while True:
        yield number % 64
        number += 1


def test_an_mjpeg_address_gives_live_pictures() -> None:
    with server(lambda connection, _: send_mjpeg(connection, endless())) as port:
        with open_source(f"http://127.0.0.1:{port}/video") as source:
            frames = [frame for frame, _ in zip(source, range(8), strict=False)]
        assert source.live
        assert source.size == (96, 64)
        numbers = [number_in(frame.image) for frame in frames]
        assert all((b - a) % 64 > 0 for a, b in itertools.pairwise(numbers))
        assert [frame.index for frame in frames] == list(range(8))
        assert source.name == f"http://127.0.0.1:{port}/video"


@pytest.mark.parametrize("stalls", [True, False])
def test_a_stream_that_stalls_or_breaks_off_is_reached_again(stalls: bool) -> None:
    served: list[int] = []

    def serve(connection: socket.socket, number: int) -> None:
        served.append(number)
        send_mjpeg(connection, iter(range(40 * number, 40 * number + 20)) if number < 2 else endless())
        if stalls:
            threading.Event().wait(60)

    with (
        server(serve) as port,
        open_stream(f"http://127.0.0.1:{port}/", timeout=0.7, patience=60) as source,
    ):
        for frame in source:
            if 40 <= number_in(frame.image) < 60:  # those of the second connection only
                break
    assert served[:2] == [0, 1]


@pytest.mark.parametrize(
    ("address", "seen"),
    [
        ("rtsp://10.0.0.1:554/live", "rtsp://10.0.0.1:554/live"),
        ("rtsp://admin:p@ss@10.0.0.1/live", "rtsp://10.0.0.1/live"),
        ("http://10.0.0.1/mail@home.mjpg", "http://10.0.0.1/mail@home.mjpg"),
        ("http://10.0.0.1/a?channel=1&user=admin&PWD=p@ss", "http://10.0.0.1/a?channel=1&user=***&PWD=***"),
    ],
)
def test_no_password_is_shown(address: str, seen: str) -> None:
    assert shown(address) == seen


def test_a_stream_that_stays_away_is_given_up() -> None:
    def serve(connection: socket.socket, number: int) -> None:
        if number == 0:
            send_mjpeg(connection, iter(range(20)))

    with (
        server(serve) as port,
        open_stream(f"http://127.0.0.1:{port}/", timeout=0.5, patience=1.5) as source,
        pytest.raises(TrackerError, match="gives no more pictures; check the address") as caught,
    ):
        list(source)
    assert "\n" not in str(caught.value)


def refuse(connection: socket.socket, _: int) -> None:
    connection.recv(4096)
    connection.sendall(b"HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n")


def babble(connection: socket.socket, _: int) -> None:
    connection.recv(4096)
    connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n<p>This is no video.</p>")


def keep_silent(connection: socket.socket, _: int) -> None:
    threading.Event().wait(60)


@pytest.mark.parametrize("serve", [refuse, babble, keep_silent])
@pytest.mark.parametrize("kind", ["http", "rtsp"])
def test_an_address_without_pictures_is_refused_in_one_line(
    serve: Callable[[socket.socket, int], None], kind: str
) -> None:
    with (
        server(serve) as port,
        pytest.raises(TrackerError, match="check the address") as caught,
    ):
        open_stream(f"{kind}://user:secret@127.0.0.1:{port}/x", timeout=0.5)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert shown("rtsp://user:secret@camera/1") == "rtsp://camera/1"


def test_no_connection_is_refused_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(TrackerError, match=f"127.0.0.1:{port}"):
        open_source(f"http://127.0.0.1:{port}/")


def test_a_playlist_does_not_open_files_of_this_computer(tmp_path: Any) -> None:
    from clips import encode

    film = encode(tmp_path / "a.ts")
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nfile://{film}\n#EXT-X-ENDLIST\n".encode()

    def serve(connection: socket.socket, _: int) -> None:
        connection.recv(4096)
        kind = b"application/vnd.apple.mpegurl"
        connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: " + kind + b"\r\n\r\n" + playlist)

    with server(serve) as port, pytest.raises(TrackerError):
        StreamCapture(f"http://127.0.0.1:{port}/list.m3u8", timeout=1.0)


# RTSP (RFC 2326) over TCP, with H.264 in RTP packets of one NAL unit each (RFC 6184)


def nal_units(count: int) -> list[list[bytes]]:
    """The NAL units of numbered pictures, each a key picture with its parameter sets."""
    coder: Any = av.CodecContext.create("libx264", "w")
    coder.width, coder.height, coder.pix_fmt, coder.time_base = 96, 64, "yuv420p", Fraction(1, 25)
    coder.options = {"tune": "zerolatency", "g": "1", "x264-params": "slices=1:annexb=1"}
    packets = []
    for number in range(count):
        frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
        frame.pts = number
        packets += [bytes(packet) for packet in coder.encode(frame)]
    packets += [bytes(packet) for packet in coder.encode(None)]
    return [[unit for unit in packet.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1") if unit] for packet in packets]


def send_rtsp(connection: socket.socket, _: int) -> None:
    pictures = nal_units(64)
    file = connection.makefile("rb")
    while True:
        request = [line.decode() for line in iter(lambda: file.readline().rstrip(b"\r\n"), b"")]
        if not request:
            return
        method, url = request[0].split()[:2]
        (sequence,) = [line.split(":")[1].strip() for line in request if line.lower().startswith("cseq")]
        head, body = [f"CSeq: {sequence}"], b""
        if method == "OPTIONS":
            head.append("Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN")
        elif method == "DESCRIBE":
            body = (
                b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
                b"a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:video\r\n"
            )
            head += ["Content-Type: application/sdp", f"Content-Base: {url}/", f"Content-Length: {len(body)}"]
        elif method == "SETUP":
            head += ["Transport: RTP/AVP/TCP;unicast;interleaved=0-1", "Session: 1"]
        else:
            head.append("Session: 1")
        connection.sendall("\r\n".join(["RTSP/1.0 200 OK", *head, "", ""]).encode() + body)
        if method == "PLAY":
            break
    sequence_number = 0
    for number in range(10_000):
        units = pictures[number % len(pictures)]
        for place, unit in enumerate(units):
            last = 0x80 * (place == len(units) - 1)
            packet = struct.pack(">BBHII", 0x80, last | 96, sequence_number & 0xFFFF, number * 3600, 7) + unit
            connection.sendall(b"$\0" + struct.pack(">H", len(packet)) + packet)
            sequence_number += 1
        threading.Event().wait(0.03)


def test_an_rtsp_address_gives_live_pictures() -> None:
    with (
        server(send_rtsp) as port,
        open_source(f"rtsp://127.0.0.1:{port}/camera") as source,
    ):
        frames = [frame for frame, _ in zip(source, range(5), strict=False)]
    numbers = [number_in(frame.image) for frame in frames]
    assert source.size == (96, 64)
    assert all(0 < (b - a) % 64 < 32 for a, b in itertools.pairwise(numbers))


def test_a_stream_coded_in_an_unknown_way_is_one_line(tmp_path: Path) -> None:
    data = encode(tmp_path / "a.flv", size=(48, 32), rate=25, times=6).read_bytes()
    data = data.replace(b"\x17\x00\x00\x00\x00", b"\x1d\x00\x00\x00\x00").replace(b"\x17\x01", b"\x1d\x01")

    def serve(connection: socket.socket, number: int) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: video/x-flv\r\n\r\n" + data)

    with server(serve) as port, pytest.raises(TrackerError, match="coded in a way that is not known"):
        open_source(f"http://127.0.0.1:{port}/")
