"""Annotated videos: the pictures as drawn, with the times and the sound of the recording."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet

from tracker.core import MUDDLED, Image, Result
from tracker.files import Output, SinkError, remove
from tracker.sources import UNREADABLE, Source, VideoFile, open_container

log = logging.getLogger(__name__)

SOUND_IN_MP4 = frozenset({"aac", "ac3", "alac", "eac3", "flac", "mp2", "mp3", "opus"})
"""Codecs whose sound is copied into an MP4; players do not expect others there. A Matroska file takes any."""


class VideoSink(Output):
    """An MP4, or for .mkv a Matroska file, with H.264 pictures as ``draw`` makes them of each result, and the sound of
    the source.

    The pictures have the size of the source's (an odd side gets one more pixel by repeating the edge; pictures of
    another size are scaled to fit, on black) and its presentation times, whether the rate varies or the start is not
    zero; times that do not increase are moved on by the least there is, a recording that starts before zero starts at
    zero, and one whose times jump back (files put together) goes on where it was. The sound of a VideoFile is copied
    without encoding it again, up to a second after the last picture.

    ``lost_sound`` is None, or names the codec of sound that MP4 does not carry and that was therefore left out; a
    Matroska file carries any (see ``video_suffix``), with times to the millisecond. ``crf`` is x264's quality, from 0
    (lossless) to 51, ``preset`` its speed, ``threads`` how many encode, 0 for as many as there are cores. ``sound``
    False leaves the sound out. An MP4 without sound can be played up to its last three seconds or so even if it is
    never finished.

    Raises SinkError when the file cannot be made, or is the source itself.
    """

    def __init__(
        self,
        path: str | Path,
        source: Source,
        draw: Callable[[Result], Image],
        *,
        crf: int = 18,
        preset: str = "veryfast",
        threads: int = 0,
        sound: bool = True,
    ) -> None:
        super().__init__(path)
        file = source.path if isinstance(source, VideoFile) else None
        if file and any(target.exists() and target.samefile(file) for target in (self.path, self.part)):
            raise SinkError(f"{self.path}: this is the video that is being read; choose another name")
        self.lost_sound: str | None = None
        self._draw = draw
        self._size = source.size
        matroska = self.path.suffix.lower() == ".mkv"
        self._least = _TICKS // 1000 if matroska else 1  # between two pictures
        self._step = round(_TICKS / (source.rate or 30.0))
        self._shift = 0.0  # seconds, from the source's times to the file's
        self._before: float | None = None  # the shift before the last jump back, until that has proved to be none
        self._last: int | None = None  # ticks at which the last picture is shown
        self._sound: _Sound | None = None
        with self._writing():
            remove(self.part)
            kind, options = ("matroska", {}) if matroska else ("mp4", {"movie_timescale": str(_TICKS)})
            if not (matroska or (file and sound)):
                options |= _IN_PARTS
            self._container = av.open(f"file:{self.part}", "w", format=kind, options=options)
            rate = Fraction(min(max(source.rate or 30.0, 1.0), 1000.0)).limit_denominator(1001)
            self._stream = self._container.add_stream("libx264", rate, {"crf": str(crf), "preset": preset})
            codec = self._stream.codec_context
            codec.thread_count = threads
            codec.time_base = Fraction(1, _TICKS)
            codec.width, codec.height = (side + side % 2 for side in source.size)
            codec.pix_fmt = "yuv420p"
            codec.colorspace = codec.color_primaries = codec.color_trc = _BT709
            codec.color_range = _LIMITED
            if isinstance(source, VideoFile):
                codec.sample_aspect_ratio = source.pixel_aspect
            if file and sound:
                self._sound = _Sound(file, self._container, None if matroska else SOUND_IN_MP4)
                self.lost_sound = self._sound.lost
            self._container.start_encoding()
            self._begin()

    def write(self, result: Result) -> None:
        """Add one picture. Raises SinkError when it cannot be written."""
        self._check_open()
        image = _fitted(self._draw(result), self._size)
        if self._last is None:
            self._shift = max(0.0, -result.frame.time)
        ticks = self._placed(result.frame.time)
        with self._writing():
            rgb = av.VideoFrame.from_numpy_buffer(image, "rgb24")
            picture = rgb.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            picture.pts = ticks
            picture.time_base = Fraction(1, _TICKS)
            self._mux(self._stream.encode(picture))

    def _placed(self, time: float) -> int:
        """The ticks at which the next picture is shown, of ``time`` in the source."""
        ticks = round((time + self._shift) * _TICKS)
        if self._last is not None:
            back = self._last - MUDDLED * _TICKS
            if self._before is not None and (time + self._before) * _TICKS >= back:  # one wrong time alone
                self._shift, self._before = self._before, None
                ticks = round((time + self._shift) * _TICKS)
            elif ticks < back:
                self._before = self._shift
                self._shift += (self._last + self._step - ticks) / _TICKS
                ticks = self._last + self._step
            ticks = max(ticks, self._last + self._least)
        self._last = ticks
        return ticks

    def close(self) -> None:
        """Finish the file and give it its name. Raises SinkError, also when no picture was written."""
        if self._open and self._last is None:
            self.abort()
            self.part.unlink(missing_ok=True)
            raise SinkError(f"{self.path}: not made, as there was no picture to put in it")
        super().close()

    def _mux(self, packets: list[Packet[Any]]) -> None:
        """Write packets of pictures, and before each the sound up to it."""
        for packet in packets:
            packet.duration = self._step  # it counts only for the last; the others end where the next begins
            self._mux_sound(float((packet.dts or 0) * packet.time_base))
            self._container.mux(packet)

    def _mux_sound(self, until: float) -> None:
        if self._sound:
            for packet in self._sound.packets(until, self._shift):
                self._container.mux(packet)

    def _finish(self) -> None:
        try:
            self._mux(self._stream.encode(None))
            self._mux_sound(((self._last or 0) + self._step) / _TICKS + _TAIL)
        finally:
            if self._sound:
                self._sound.close()
            self._container.close()


_TICKS = 90000  # per second: what video times are counted in; the usual rates are exact in it, all to 6 microseconds
_IN_PARTS = {"movflags": "hybrid_fragmented+delay_moov", "frag_duration": "2000000"}
"""Each two seconds of an MP4 get an index of their own, so that those written can be played whatever ends the
program, and the finished file one of all. Sound of some containers does not go with it; it comes from a recording
that is there to be tracked again."""
_TAIL = 1.0  # seconds of sound that may follow the last picture
_BT709, _LIMITED = 1, 1  # the numbers under which H.264 knows the colours of HD video, and the range 16 to 235


class _Sound:
    """The sound of a video file, handed on packet by packet to another file that takes ``codecs`` (None: all).
    ``lost`` names those that it does not take."""

    def __init__(self, path: Path, output: OutputContainer, codecs: frozenset[str] | None) -> None:
        self._input = open_container(path)
        self._outputs: dict[int, AudioStream] = {}
        self._read: dict[int, int] = {}  # by stream, the decoding time of its last packet
        self._written: dict[int, int] = {}  # and that time in the other file
        self._shift: float | None = None  # seconds, of the packets read by now
        self._jumped = False  # to a time before, where the pictures are still to follow
        lost = []
        for stream in self._input.streams.audio:
            codec = _codec_of(stream)
            if stream.codec_context and (codecs is None or codec in codecs):
                self._outputs[stream.index] = output.add_stream_from_template(stream)
            else:
                lost.append(codec)
        self.lost = ", ".join(lost) or None
        if self.lost:
            log.warning("%s: its sound is left out, as MP4 does not carry %s", path, self.lost)
        self._packets = self._input.demux(*self._input.streams.audio) if self._outputs else iter(())
        self._next = self._advance()

    def packets(self, until: float, shift: float) -> Iterator[Packet[Any]]:
        """The packets up to ``until`` seconds in the file to be, in which the pictures are ``shift`` seconds later than
        in this one. Where the times of the sound jump back it waits for the pictures to do so."""
        while self._next is not None:
            packet, dts = self._next
            if self._shift is None or (self._jumped and shift != self._shift):
                self._shift, self._jumped = shift, False
            ticks = round(self._shift / packet.time_base)
            if self._jumped or (dts + ticks) * packet.time_base > until:
                return
            self._next = self._advance()
            if dts + ticks <= self._written.get(packet.stream_index, dts + ticks - 1):
                continue
            self._written[packet.stream_index] = dts + ticks
            packet.pts = ticks + (dts if packet.pts is None else packet.pts)
            packet.dts = ticks + dts
            packet.stream = self._outputs[packet.stream_index]
            yield packet

    def _advance(self) -> tuple[Packet[Any], int] | None:
        """The next packet that can be copied, with its decoding time."""
        try:
            for packet in self._packets:
                dts, before = packet.dts, self._read.get(packet.stream_index)
                if packet.stream_index in self._outputs and dts is not None:
                    self._read[packet.stream_index] = dts
                    self._jumped |= before is not None and (before - dts) * packet.time_base > MUDDLED
                    return packet, dts
        except UNREADABLE as error:
            log.warning("%s: its sound breaks off: %s", self._input.name, error)
        return None

    def close(self) -> None:
        self._input.close()


def video_suffix(source: Source) -> str:
    """``.mp4``, or ``.mkv`` where ``source`` has sound that MP4 does not carry. Raises what PyAV raises."""
    if isinstance(source, VideoFile):
        with open_container(source.path) as container:
            if any(_codec_of(stream) not in SOUND_IN_MP4 for stream in container.streams.audio):
                return ".mkv"
    return ".mp4"


def _codec_of(stream: AudioStream) -> str:
    return stream.codec_context.codec.canonical_name if stream.codec_context else "unknown"


def _fitted(image: Image, size: tuple[int, int]) -> Image:
    """The image scaled to fit into ``size`` (width, height) where it has another, about the middle of black, with an
    odd side made even by repeating the edge."""
    width, height = size
    picture: Any = np.ascontiguousarray(image)
    if picture.shape[:2] != (height, width):
        scale = min(width / picture.shape[1], height / picture.shape[0])
        inner = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
        small = cv2.resize(picture, inner, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
        picture = np.zeros((height, width, 3), np.uint8)
        picture[top : top + inner[1], left : left + inner[0]] = small
    if width % 2 or height % 2:
        picture = cv2.copyMakeBorder(picture, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    return picture
