"""Network streams: the live pictures of an http (MJPEG) or rtsp address, read the way a camera is."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from typing import Any

import av
from av.container import InputContainer
from av.video.frame import VideoFrame

from tracker.core import TrackerError

log = logging.getLogger(__name__)

PAUSE = 1.0
"""Seconds between attempts to reach a stream again."""


class StreamError(TrackerError):
    """A stream that cannot be reached."""


class StreamCapture:
    """A stream with the methods of cv2.VideoCapture that a Camera reads through.

    A connection that gives nothing for ``timeout`` seconds, breaks off or ends is made anew, again and again until
    ``release``; meanwhile there is no picture. Nothing but the network is opened, whatever a playlist says.

    Raises StreamError when the address cannot be reached at first.
    """

    def __init__(self, address: str, *, timeout: float = 5.0) -> None:
        self._address, self._timeout = address, timeout
        self._released = False
        self._container: InputContainer | None = None
        self._pictures: Iterator[VideoFrame] = iter(())
        self._again = 0.0
        try:
            self._connect()
        except (av.error.FFmpegError, ValueError) as error:
            self._disconnect()
            raise StreamError(f"{shown(address)}: {_reason(error)}; check the address and the network") from error

    def isOpened(self) -> bool:
        return not self._released

    def read(self) -> tuple[bool, Any]:
        """Whether there is a picture, and the picture, (H, W, 3) uint8 BGR."""
        try:
            if self._container is None:
                if time.monotonic() < self._again:
                    return False, None
                self._connect()
            return True, next(self._pictures).to_ndarray(format="bgr24")
        except (av.error.FFmpegError, ValueError, StopIteration) as error:
            log.info("%s: %s; reaching for it again", shown(self._address), _reason(error))
            self._disconnect()
            self._again = time.monotonic() + PAUSE
            return False, None

    def release(self) -> None:
        self._released = True
        self._disconnect()

    def _connect(self) -> None:
        options = {
            "protocol_whitelist": "http,https,httpproxy,tcp,tls,rtsp,rtp,udp,crypto",
            "rtsp_transport": "tcp",
            "fflags": "nobuffer",
            "probesize": "500000",
            "analyzeduration": "500000",
        }
        self._container = av.open(self._address, options=options, timeout=(self._timeout, self._timeout))
        if not self._container.streams.video:
            raise ValueError("it carries no video")
        stream = self._container.streams.video[0]
        if stream.codec_context is None:
            raise ValueError("its pictures are coded in a way that is not known here")
        stream.codec_context.thread_count = 1
        self._pictures = self._container.decode(stream)

    def _disconnect(self) -> None:
        container, self._container = self._container, None
        self._pictures = iter(())
        if container is not None:
            container.close()


def shown(address: str) -> str:
    """The address without the name and password that may stand in it, before the host or as parameters."""
    address = re.sub("//[^/?#]*@", "//", address)
    return re.sub(f"([?&][^=&#]*(?:{_SECRET})[^=&#]*=)[^&#]*", r"\1***", address, flags=re.IGNORECASE)


_SECRET = "user|usr|login|pass|pwd|token|auth|secret|key"
"""What names of parameters have in them whose values nobody is to see."""


def _reason(error: Exception) -> str:
    if isinstance(error, StopIteration):
        return "it ended"
    if isinstance(error, av.error.ExitError):
        return "no answer in time"
    return (getattr(error, "strerror", None) or str(error)).lower()
