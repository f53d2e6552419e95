"""Where pictures come from: video files, folders of images, cameras, network streams.

A source is iterated for its frames. Each iteration over a file or a folder starts from the beginning; a camera goes on
with its newest picture. Frames are RGB, upright (the rotation a file states is applied) and read-only, and belong to
whoever receives them.
"""

from __future__ import annotations

import logging
import math
import queue
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from fractions import Fraction
from functools import cached_property
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.format import Flags
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from tracker.core import MUDDLED, Frame, Image, TrackerError
from tracker.cores import make_room
from tracker.streams import StreamCapture, shown

if TYPE_CHECKING:  # in the standard library from Python 3.11
    from typing_extensions import Self

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
"""Suffixes, in lower case, of the files that are read as images."""

LARGEST_SIDE, LARGEST_AREA = 16384, 1 << 27
"""Pixels on a side, and in all; a video or an image whose header claims more is refused, since hardly anything real is
as large. ``tracker/__init__.py`` tells OpenCV."""


class SourceError(TrackerError):
    """A source that cannot be opened, or a camera that has stopped."""


class Source(Protocol):
    """What frames are read from.

    ``name`` to show to people; ``size`` (width, height) in pixels of the first frame as it is delivered, that is
    after rotation; ``rate`` nominal frames per second, or None; ``length`` the expected number of frames, or None: a
    hint for progress bars, not a promise; ``live`` True where frames come as they are taken and are dropped when
    nobody is ready for them. ``problem`` is None, or, once an iteration has ended, one line about what could not be
    read; all that could be has been delivered by then.
    """

    name: str
    size: tuple[int, int]
    rate: float | None
    length: int | None
    live: bool
    problem: str | None

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None:
        """Release the device or the file; an iteration under way ends at its next step. May be called again."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class VideoFile:
    """The frames of a video file, in the order in which they are shown.

    ``Frame.time`` is the presentation time in seconds that the file gives, from whatever start it has and with
    whatever steps; it is taken from the nominal rate, with ``Frame.timed`` False, only in files that carry no times
    (raw H.264, raw MJPEG) and for single frames without one. Should the size of the pictures change within the file,
    they are delivered as they are.

    A picture that cannot be decoded is left out, and ``problem`` says so after the iteration; it also says when the
    recording breaks off before the end that its container states.

    ``path`` is the file, ``pixel_aspect`` the width of a pixel over its height (1 in nearly all files), ``threads``
    the number of decoding threads, 0 for as many as there are cores.

    Raises SourceError when there is no such file, no video in it, or none that can be decoded.
    """

    live = False

    def __init__(self, path: str | Path, *, threads: int = 1) -> None:
        self.path = Path(path)
        self.name = self.path.name
        self.threads = threads
        self.problem: str | None = None
        self._closed = False
        self._buffers = _Buffers()
        container, stream = self._open()
        with container:
            self._timed = not container.format.flags & _NO_TIMES
            rate = stream.average_rate if self._timed else stream.guessed_rate
            self.rate = float(rate) if rate else None
            self.length = self._expected_length(container, stream)
            first = next(_Reading(container, stream).pictures(), None)
            if first is None:
                raise SourceError(f"{self.path}: no picture in it can be decoded; copy it again or convert it")
            aspect = stream.sample_aspect_ratio or Fraction(1)
            on_side = _turn(first) in (90, 270)
            self.size = (first.height, first.width) if on_side else (first.width, first.height)
            self._start = first.pts
            self.pixel_aspect = 1 / aspect if on_side else aspect

    def __iter__(self) -> Iterator[Frame]:
        return self.frames()

    def frames(self, start: int = 0) -> Iterator[Frame]:
        """The frames from number ``start`` on, counted from 0, as an iteration gives them. The first is found by way
        of ``times``; where the file gives none, all before it are decoded. ``problem`` is only told by a pass that
        begins at the beginning."""
        self.problem = None
        self._closed = False
        container, stream = self._open()
        with container:
            reading = _Reading(container, stream)
            times = self.times if start > 0 else None
            if times is not None and start >= len(times):
                return
            sought = (0, reading.stamped()) if times is None else reading.stamped_from(times, start)
            if sought is None:  # this container cannot be sought in after all
                self.times = None
                yield from self.frames(start)
                return
            first, pictures = sought
            step = 1 / (self.rate or 25.0)
            stamp = -step
            for index, (picture, stated) in enumerate(pictures, first):
                if self._closed:
                    return
                stated = stated if self._timed else None
                stamp = stamp + step if stated is None else stated
                if not self._timed:
                    stamp = index * step
                if index >= start:
                    yield Frame(self._image(picture), index, stamp, stated is not None, float(self.pixel_aspect))
            problem = reading.problem() if start <= 0 else None
            self.problem = problem and f"{self.path}: {problem}"

    @cached_property
    def times(self) -> npt.NDArray[np.float64] | None:
        """Presentation times (N,) of all pictures in seconds, in order, read from the packets without decoding; None
        where the file does not give every one, or they jump back. Those before the first picture that can be decoded,
        as in a stream that was cut anywhere, do not count."""
        container, stream = self._open()
        with container:
            if not self._timed or stream.time_base is None:
                return None
            in_places = container.format.name == "avi"
            ticks: list[int | None] = []
            last: int | None = None
            try:
                for packet in container.demux(stream):
                    if packet.size and not packet.is_discard:
                        ticks.append(packet.dts if in_places else packet.pts)
                        now = last if packet.dts is None else packet.dts
                        if last is not None and now is not None and (last - now) * stream.time_base > MUDDLED:
                            return None
                        last = now
            except UNREADABLE as error:
                log.info("%s: %s", self.path, error)
            known = [tick for tick in ticks if tick is not None]
            if not known or len(known) < len(ticks):
                return None
            if self._start is not None and not in_places:
                known = [tick for tick in known if tick >= self._start]
            return np.sort(np.array(known)) * float(stream.time_base)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End an iteration under way at its next step; between iterations nothing is open."""
        self._closed = True

    def _open(self) -> tuple[InputContainer, VideoStream]:
        """The opened file and the stream of its pictures."""
        path = self.path
        if not path.is_file():
            what = "this is not a file" if path.exists() else "no such file"
            raise SourceError(f"{path}: {what}; check the path")
        if path.stat().st_size == 0:
            raise SourceError(f"{path}: the file is empty; copy or record it again")
        try:
            if _claims_too_much(path):
                raise SourceError(
                    f"{path}: it claims more pictures or sounds than it has bytes; copy or record it again"
                )
            container = open_container(path)
        except PermissionError as error:
            raise SourceError(f"{path}: may not be read; change its permissions") from error
        except (av.error.FFmpegError, OSError) as error:
            raise SourceError(self._unreadable()) from error
        try:
            return container, self._video_stream(container)
        except BaseException:
            container.close()
            raise

    def _video_stream(self, container: InputContainer) -> VideoStream:
        covers = Disposition.attached_pic | Disposition.timed_thumbnails
        streams = [stream for stream in container.streams.video if not stream.disposition & covers]
        if not streams:
            if container.streams.audio:
                raise SourceError(f"{self.path}: there is sound in it but no video; choose another file")
            raise SourceError(self._unreadable())
        codec = streams[0].codec_context
        if codec is None:
            raise SourceError(f"{self.path}: no decoder here for this kind of video; convert it to H.264")
        if _too_large(codec.width, codec.height):
            raise SourceError(
                f"{self.path}: it claims pictures of {codec.width} x {codec.height} pixels, and {LARGEST_SIDE} on a "
                f"side and {LARGEST_AREA} in all are the limit; if that is not a fault in the file, scale it down first"
            )
        codec.options = {"max_pixels": str(LARGEST_AREA)}  # later pictures may claim another size
        codec.thread_count = self.threads
        codec.thread_type = "SLICE" if self.threads == 1 else "AUTO"
        return streams[0]

    def _unreadable(self) -> str:
        if _lacks_index(self.path):
            return (
                f"{self.path}: the index at the end of the file is missing, as the recording or the copy was not "
                "finished, and nothing can be read without it; copy or record it again, or repair it with a tool"
            )
        return f"{self.path}: not a video that can be read; choose another file or convert it"

    def _expected_length(self, container: InputContainer, stream: VideoStream) -> int | None:
        if stream.frames:
            return stream.frames
        if container.duration and self.rate:
            return max(1, round(container.duration / av.time_base * self.rate))
        return None

    def _image(self, picture: VideoFrame) -> Image:
        """The picture as upright, contiguous, read-only RGB, in memory that is used again when nobody holds it."""
        image: Any = picture.to_ndarray(format="rgb24", threads=self.threads)
        turn = _turn(picture)
        height, width = image.shape[:2]
        kept: Any = self._buffers.take((width, height, 3) if turn in (90, 270) else (height, width, 3))
        if turn:
            cv2.rotate(image, _ROTATIONS[turn], dst=kept)
        else:
            np.copyto(kept, image)
        image = kept.view()
        image.flags.writeable = False
        return image


def read_ahead(source: Source, frames: int = 4) -> Generator[tuple[Frame, float], None, None]:
    """The frames of ``source``, read in a thread of its own up to so many ahead, each with the milliseconds that
    reading it took. What the source raises is raised here, after the frames before it. While some are ready, the next
    waits for a core that has nothing to do (``cores.make_room``)."""
    ahead: queue.Queue[tuple[Frame, float] | BaseException | None] = queue.Queue(frames)
    stopping = threading.Event()

    def put(what: tuple[Frame, float] | BaseException | None) -> bool:
        while not stopping.is_set():
            try:
                ahead.put(what, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def read() -> None:
        try:
            before = time.perf_counter()
            for frame in source:
                if not put((frame, (time.perf_counter() - before) * 1000)):
                    return
                if ahead.qsize() >= 2:
                    make_room()
                before = time.perf_counter()
            put(None)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=read, name=f"reading {source.name}", daemon=True)
    thread.start()
    try:
        while (read_ := ahead.get()) is not None:
            if isinstance(read_, BaseException):
                raise read_
            yield read_
    finally:
        stopping.set()
        thread.join()


class _Buffers:
    """Memory for pictures. What is given is a frame's own until its last user lets go of it, and is then given again:
    fresh memory of that size costs the system 440 page faults for each picture of 1280 x 720, a third of its reading.
    """

    def __init__(self, most: int = 16) -> None:
        self._kept: list[Image] = []
        self._most = most

    def take(self, shape: tuple[int, ...]) -> Image:
        for buffer in self._kept:
            if sys.getrefcount(buffer) == _UNUSED and buffer.shape == shape:
                return buffer
        fresh = np.empty(shape, np.uint8)
        self._kept = [buffer for buffer in self._kept if buffer.shape == shape]
        if len(self._kept) < self._most:
            self._kept.append(fresh)
        return fresh


_UNUSED = 3
"""References to a buffer that only its list, the loop over that and the counting itself know of."""


def open_container(path: Path) -> InputContainer:
    """The file opened by PyAV. Raises what PyAV raises.

    The prefix keeps a colon in a name from being read as a protocol, the lists keep it to this one file (a playlist
    would open others, and wait for more of them), and titles in another encoding than UTF-8 (old AVIs have them) are no
    reason to refuse a file.
    """
    options = {"protocol_whitelist": "file", "format_whitelist": _FORMATS}
    return av.open(f"file:{path}", options=options, metadata_errors="replace")


UNREADABLE = (av.error.FFmpegError, IndexError)
"""What PyAV raises between packets: the second where one is of a stream of which the head of the file says nothing."""

_FORMATS = ",".join(sorted(av.formats_available - {"concat", "dash", "hls", "imf", "rtsp", "sap", "sdp"}))
"""The containers that are read: all but lists of other files and addresses."""

_NO_TIMES: int = Flags.no_timestamps.value  # type: ignore[assignment]
"""The mark of a container that carries no times."""

_ROTATIONS = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}


def _too_large(width: int, height: int) -> bool:
    return max(width, height) > LARGEST_SIDE or width * height > LARGEST_AREA


def _turn(picture: VideoFrame) -> int:
    """By how many degrees, counter-clockwise, a picture has to be turned to be upright: 0, 90, 180 or 270."""
    return round(picture.rotation / 90) * 90 % 360


def _lacks_index(path: Path) -> bool:
    """Whether an MP4 or MOV ends before or within its `moov` box, without which its pictures cannot be found."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = 0
        while start + 8 <= size:
            file.seek(start)
            head = file.read(16)
            kind = head[4:8]
            if start == 0 and kind not in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
                return False
            length = int.from_bytes(head[:4], "big")
            if length == 1:
                length = int.from_bytes(head[8:], "big")
            if kind == b"moov":
                return start + length > size
            if length < 8:  # it reaches to the end of the file, or makes no sense
                return True
            start += length
    return start > 0


def _claims_too_much(path: Path) -> bool:
    """Whether the fragments of an MP4 claim more pictures and sounds than the file has bytes. libav would note each of
    them at every look into it, 83 million of a file of 5 KB in three seconds and three gigabytes."""
    size = path.stat().st_size
    with path.open("rb") as file:
        return sum(_claims(file, 0, size)) > size


def _claims(file: BinaryIO, start: int, end: int, within: bytes = b"") -> Iterator[int]:
    """What each run in the fragments of an MP4 between two places claims: `trun` boxes within `traf` within `moof`."""
    while start + 8 <= end:
        file.seek(start)
        head = file.read(24)
        length, kind, body = int.from_bytes(head[:4], "big"), head[4:8], 8
        if length == 1:
            length, body = int.from_bytes(head[8:16], "big"), 16
        if length < body:  # it reaches to the end of the file, or makes no sense
            return
        if (within, kind) in ((b"", b"moof"), (b"moof", b"traf")):
            yield from _claims(file, start + body, min(start + length, end), kind)
        elif (within, kind) == (b"traf", b"trun"):
            yield int.from_bytes(head[body + 4 : body + 8], "big")
        start += length


class _Reading:
    """One pass over a video file: its pictures, and what was lost on the way."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self._container = container
        self._stream = stream
        self._packets = 0
        self._pictures = 0
        self._end = 0.0  # seconds: where the last packet of any stream ends
        self._damaged: list[int] = []  # at which pictures, from 0, something could not be decoded
        self._last_is_damaged = False
        # An AVI gives no presentation times, only a place to each packet; pictures come in the order of the places.
        self._places: deque[int] | None = deque() if container.format.name == "avi" else None

    def pictures(self) -> Iterator[VideoFrame]:
        """All that can be decoded, in the order in which it is shown."""
        try:
            for packet in self._container.demux():
                if packet.pts is not None:
                    self._end = max(self._end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                if packet.stream is self._stream and (packet.size or packet.dts is not None):
                    self._packets += 1
                    if packet.size:  # an empty one repeats a picture; the decoder would take it for the end
                        yield from self._decode(packet)
        except UNREADABLE as error:
            self._note_damage(error)
        yield from self._decode(None)

    def stamped(self) -> Iterator[tuple[VideoFrame, float | None]]:
        """All pictures with their times in seconds."""
        return ((picture, self.stamp(picture)) for picture in self.pictures())

    def stamped_from(
        self, times: npt.NDArray[np.float64], start: int
    ) -> tuple[int, Iterator[tuple[VideoFrame, float | None]]] | None:
        """The pictures with their times from a key picture on that is not after number ``start`` of ``times``, and
        the number of the first; None where there is no way to get there. A container that lands too late is sent
        farther back."""
        assert self._stream.time_base is not None
        for back in (0.0, 1.0, 10.0, math.inf):
            ticks = int(max(times[start] - back, times[0]) / self._stream.time_base)
            try:
                self._container.seek(ticks, stream=self._stream)
            except av.error.FFmpegError as error:
                log.info("%s: %s", self._container.name, error)
                return None
            if self._places is not None:
                self._places.clear()
            pictures = self.stamped()
            first, stamp = next(pictures, (None, None))
            if first is not None and stamp is not None and stamp <= times[start] + 1e-6:
                return int(np.searchsorted(times, stamp - 1e-6)), chain([(first, stamp)], pictures)
        return None

    def _decode(self, packet: Packet[Any] | None) -> Iterator[VideoFrame]:
        if self._places is not None and packet is not None and packet.dts is not None:
            self._places.append(packet.dts)
        try:
            pictures = self._stream.decode(packet)
        except av.error.FFmpegError as error:
            self._note_damage(error)
            if self._places:
                self._places.pop()
            return
        if packet is not None:
            self._last_is_damaged = packet.is_corrupt
        for picture in pictures:
            if _too_large(picture.width, picture.height):
                self._note_damage(f"{picture.width} x {picture.height} pixels")
                continue
            if picture.is_corrupt:
                self._note_damage("damaged picture")
            self._pictures += 1
            yield picture

    def _note_damage(self, what: object) -> None:
        log.info("%s, frame %d: %s", self._container.name, self._pictures, what)
        self._damaged.append(self._pictures)
        self._last_is_damaged = True

    def stamp(self, picture: VideoFrame) -> float | None:
        """Presentation time in seconds, or None where the file gives none."""
        ticks = picture.pts if picture.pts is not None else picture.dts
        if self._places:
            ticks = self._places.popleft()
        return None if ticks is None or self._stream.time_base is None else float(ticks * self._stream.time_base)

    def problem(self) -> str | None:
        """After the last picture: what is missing, or None for a whole file."""
        if self._last_is_damaged or self._breaks_off():
            return f"the recording breaks off after frame {self._pictures}; copy it again if the original is longer"
        if self._damaged:
            return (
                f"{len(self._damaged)} of its pictures are damaged or missing, the first after frame "
                f"{self._damaged[0]}; copy it again if the original is whole"
            )
        return None

    def _breaks_off(self) -> bool:
        """Whether the container states more than there is. Only statements that healthy files keep are believed."""
        container, stream = self._container, self._stream
        if container.format.name.startswith("mov"):
            return self._packets < len(stream.index_entries)
        promised = 0.0
        if container.format.name == "avi":
            promised = float(stream.frames * (stream.time_base or 0))
        elif container.format.name in ("matroska,webm", "flv", "asf") and container.duration:
            promised = container.duration / av.time_base  # counted from zero, not from the first picture
        return self._end < promised - max(1.0, 0.02 * promised)


class ImageFolder:
    """The images of a folder in natural order (``img2`` before ``img10``), or one image file, as frames.

    ``Frame.index`` is the place in ``files``; ``Frame.time`` is index / ``rate`` and ``Frame.timed`` False. Images may
    differ in size; grey, 16-bit and transparent ones become 8-bit RGB, and the orientation in their EXIF data is
    applied. An image that cannot be read is left out, its index with it, and ``problem`` names it after the iteration.

    Raises SourceError when there is no such folder or file, or no image in it that can be read.
    """

    live = False

    def __init__(self, path: str | Path, *, rate: float = 30.0) -> None:
        if not rate > 0:
            raise SourceError(f"{path}: {rate} images per second make no sense; choose a positive rate")
        self.path = Path(path)
        self.name = self.path.name
        self.rate: float | None = rate
        self.problem: str | None = None
        self._closed = False
        try:
            self.files = source_files(self.path)
        except OSError as error:
            raise SourceError(f"{path}: {error.strerror}; check the path and its permissions") from error
        self.length: int | None = len(self.files)
        if not self.files:
            raise SourceError(f"{path}: no image in this folder; {', '.join(sorted(IMAGE_SUFFIXES))} can be read")
        self._bits = 8
        first = next((image for image in map(self._read, self.files) if image is not None), None)
        if first is None:
            raise SourceError(f"{path}: no image here can be read, of {len(self.files)}; choose other images")
        self.size: tuple[int, int] = (first.shape[1], first.shape[0])

    def __iter__(self) -> Iterator[Frame]:
        return self.frames()

    def frames(self, start: int = 0) -> Iterator[Frame]:
        """The frames from number ``start`` on, counted from 0."""
        assert self.rate is not None
        self.problem = None
        self._closed = False
        unreadable = []
        for index, file in enumerate(self.files[start:], start):
            if self._closed:
                return
            image = self._read(file)
            if image is None:
                unreadable.append(file)
            else:
                yield Frame(image, index, index / self.rate, timed=False)
        if unreadable:
            more = f" and {len(unreadable) - 1} more" if len(unreadable) > 1 else ""
            self.problem = f"{unreadable[0]}{more}: not an image that can be read; it was left out"

    def _read(self, file: Path) -> Image | None:
        """Of 16 bits a channel, as bright as the pictures before."""
        picture = _decoded(file)
        if picture is None:
            return None
        self._bits = max(self._bits, _bits(picture))
        return _rgb(picture, self._bits)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End an iteration under way at its next step."""
        self._closed = True


def source_files(path: Path) -> list[Path]:
    """The files that a recording consists of: the images of a folder in natural order, or the one file. Raises OSError
    for what is not there."""
    if not path.is_dir():
        path.stat()
        return [path]
    files = (file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())
    return sorted((file for file in files if not is_shadow(file)), key=lambda file: _natural(file.name))


def is_shadow(path: Path) -> bool:
    """Whether this is one of the files that macOS lays beside others on disks of another kind, and no recording."""
    return path.name.startswith("._")


def _natural(name: str) -> tuple[list[str | int], str]:
    """A key that sorts names by the numbers in them; every second part is a number, so that like meets like."""
    parts = re.split("([0-9]+)", name.casefold())
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], name


def read_image(path: Path) -> Image | None:
    """An image file as read-only RGB, or None if it cannot be read. Any path works, unlike with cv2.imread. Of 16
    bits a channel the upper 8 of those are kept that a camera must have to give this picture."""
    picture = _decoded(path)
    return None if picture is None else _rgb(picture, _bits(picture))


def _decoded(path: Path) -> npt.NDArray[Any] | None:
    """The picture (H, W, 3) in BGR of 8 or 16 bits, or None."""
    if not path.is_file():  # a pipe would keep it waiting
        return None
    try:
        data = np.fromfile(path, np.uint8)
        if _overstates(data.tobytes()):
            return None
        image: Any = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except (OSError, cv2.error) as error:
        log.info("%s: %s", path, error)
        return None
    if image is None or image.dtype not in (np.uint8, np.uint16) or _too_large(image.shape[1], image.shape[0]):
        return None
    return image


def _bits(picture: npt.NDArray[Any]) -> int:
    """How many bits a channel has: cameras of 10, 12 and 14 write files of 16."""
    return 8 if picture.dtype == np.uint8 else next(bits for bits in (10, 12, 14, 16) if picture.max() < 1 << bits)


def _rgb(picture: npt.NDArray[Any], bits: int) -> Image:
    """A picture in BGR as read-only RGB; of one of 16 bits the upper 8 of so many."""
    image: Any = picture if picture.dtype == np.uint8 else (picture >> (bits - 8)).astype(np.uint8)
    cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
    image.flags.writeable = False
    return image


LONGEST_CHUNK = 64 << 20
"""Bytes of a part of a PNG that is not there to its end."""


def _overstates(data: bytes) -> bool:
    """Whether a PNG states sizes, of its picture or its parts, for which OpenCV takes memory before it checks them."""
    if not data.startswith(b"\x89PNG"):
        return False
    if _too_large(int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")):
        return True
    place = 8
    while place + 8 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        if length > LONGEST_CHUNK and place + length > len(data):
            return True
        place += length + 12
    return False


class Capture(Protocol):
    """What a camera is read through: cv2.VideoCapture, or anything that has these of its methods."""

    def isOpened(self) -> bool: ...

    def read(self) -> tuple[bool, Any]:
        """Whether there is a picture, and the picture, (H, W, 3) uint8 BGR."""

    def release(self) -> None: ...


class Camera:
    """The newest frame of a camera, each time one is asked for.

    A thread reads the camera and keeps only its newest picture; ``dropped`` counts those that nobody took.
    ``Frame.index`` counts the frames delivered, ``Frame.time`` is in seconds since the first picture, by the clock of
    this computer. A second iteration goes on where the first left off.

    ``which`` is the index of a camera or its name, or a part of the name that only one camera has. ``capture``
    replaces the device, and ``remedy`` is then what to do when it gives no picture. An iteration raises SourceError
    when the camera has given no picture for ``patience`` seconds.

    Raises SourceError when there is no such camera, or no first picture within ``start`` seconds.
    """

    live = True
    length: int | None = None

    def __init__(
        self,
        which: int | str = 0,
        *,
        capture: Capture | None = None,
        start: float = 10.0,
        patience: float = 2.0,
        remedy: str = "close other programs that use it, or plug it in again",
    ) -> None:
        self.rate: float | None = None
        self.problem: str | None = None
        self.dropped = 0
        if capture is None:
            device, which = _open_camera(which)
            self.rate = device.get(cv2.CAP_PROP_FPS) or None
            capture = device
        self.name = which if isinstance(which, str) else f"camera {which}"
        self._patience, self._remedy = patience, remedy
        self._capture = capture
        self._buffers = _Buffers()
        self._index = 0
        self._first: float | None = None
        self._newest: tuple[Any, float] | None = None
        self._ended = False  # the reader has nothing more to give
        self._closed = False
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, name=self.name, daemon=True)
        self._reader.start()
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._ended, start)
            newest = self._newest
        if newest is None:
            self.close()
            raise SourceError(f"{self.name}: it gives no picture; {self._remedy}")
        self.size: tuple[int, int] = (newest[0].shape[1], newest[0].shape[0])

    def __iter__(self) -> Iterator[Frame]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._newest is not None or self._ended or self._closed, self._patience)
                newest, self._newest = self._newest, None
            if self._closed:
                return
            if newest is None:
                raise SourceError(f"{self.name}: it gives no more pictures; {self._remedy}")
            picture, stamp = newest
            if self._first is None:
                self._first = stamp
            kept = self._buffers.take(picture.shape)
            cv2.cvtColor(picture, cv2.COLOR_BGR2RGB, dst=kept)
            image = kept.view()
            image.flags.writeable = False
            yield Frame(image, self._index, stamp - self._first)
            self._index += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the camera. A read that hangs in the driver is left behind and keeps nothing else waiting."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._reader.join(timeout=1.0)

    def _read(self) -> None:
        """Keep the newest picture until closed. Runs in the reader's thread, which alone touches the capture."""
        try:
            while not self._closed and self._capture.isOpened():
                good, picture = self._capture.read()
                if not good:
                    time.sleep(0.01)
                    continue
                with self._changed:
                    self.dropped += self._newest is not None
                    self._newest = (picture, time.perf_counter())
                    self._changed.notify_all()
        except cv2.error as error:  # the iteration says that it ended
            log.warning("%s: %s", self.name, error)
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()
            self._capture.release()


def cameras() -> list[tuple[int, str]]:
    """Index and name of each camera that is attached. Outside Linux the names are "camera N", and each of the first
    five is opened to see whether it is there."""
    if sys.platform == "linux":
        return _linux_cameras(Path("/sys/class/video4linux"))
    found = []
    for index in range(5):
        capture = _open_device(index)
        if capture.isOpened():
            found.append((index, f"camera {index}"))
        capture.release()
    return found


def _linux_cameras(folder: Path) -> list[tuple[int, str]]:
    """The cameras of a folder like /sys/class/video4linux. A camera has several nodes; the one with index 0 gives
    pictures, the others describe them."""
    found = []
    for node in folder.glob("video*"):
        try:
            if (node / "index").read_text().strip() == "0":
                found.append((int(node.name[len("video") :]), (node / "name").read_text().strip()))
        except (OSError, ValueError):  # unplugged in this moment, or not a camera
            continue
    return sorted(found)


def _open_camera(which: int | str) -> tuple[cv2.VideoCapture, str]:
    """The camera of this index or name, and its name. Others are opened only where there is no way around it."""
    found = cameras() if isinstance(which, str) or sys.platform == "linux" else []
    if isinstance(which, str):
        exact = [index for index, name in found if name.casefold() == which.casefold()]
        matches = exact or [index for index, name in found if which.casefold() in name.casefold()]
    else:
        matches = [which]
    if len(matches) == 1:
        capture = _open_device(matches[0])
        if capture.isOpened():
            capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
            return capture, dict(found).get(matches[0], f"camera {which}")
    there = ", ".join(f"{index} ({name})" for index, name in found or cameras()) or "none"
    what = "several have this name" if len(matches) > 1 else "it is absent, in use by another program or not allowed"
    raise SourceError(f"camera {which}: {what}; choose one of those attached: {there}")


def _open_device(index: int) -> cv2.VideoCapture:
    """A camera opened through the system's own interface, or one that is not open, without cv2's own warnings."""
    backends = {"linux": cv2.CAP_V4L2, "win32": cv2.CAP_DSHOW, "darwin": cv2.CAP_AVFOUNDATION}
    log: Any = getattr(cv2.utils, "logging", cv2)  # where it is depends on the version
    level = log.getLogLevel()
    log.setLogLevel(0)
    try:
        return cv2.VideoCapture(index, backends.get(sys.platform, cv2.CAP_ANY))
    finally:
        log.setLogLevel(level)


def open_stream(address: str, *, timeout: float = 5.0, patience: float = 30.0) -> Camera:
    """The live pictures of an ``http://`` (MJPEG) or ``rtsp://`` address, as of a camera: the newest, each time one is
    asked for. A connection that gives nothing for ``timeout`` seconds is made anew; an iteration raises SourceError
    after ``patience`` seconds without a picture.

    Raises SourceError when the address cannot be reached or gives no picture.
    """
    capture = StreamCapture(address, timeout=timeout)
    remedy = "check the address, the network and the camera behind it"
    return Camera(shown(address), capture=capture, start=2 * timeout, patience=patience, remedy=remedy)


def path_exists(path: Path) -> bool:
    """Whether there is such a file or folder; no name can be too long to ask."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def open_source(text: str | Path) -> Source:
    """The source that ``text`` names: the index of a camera or ``camera:NAME``, an ``http://``, ``https://`` or
    ``rtsp://`` address, a folder of images, an image or a video file. A Path is never taken for a camera or an address.

    Raises SourceError, in one line, when there is no such thing or it cannot be read.
    """
    if isinstance(text, str):
        if re.fullmatch("[0-9]+", text):
            return Camera(int(text))
        kind, colon, which = text.partition(":")
        if kind == "camera" and colon:
            return Camera(int(which) if re.fullmatch("[0-9]+", which) else which)
        if kind in ("http", "https", "rtsp") and which.startswith("//"):
            return open_stream(text)
    path = Path(text)
    if path_exists(path):
        is_images = path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES
        return ImageFolder(path) if is_images else VideoFile(path)
    raise SourceError(f"{text}: no such file, folder or camera; check the path, or give the index of a camera")
