"""Real files, made here, read back."""

import itertools
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from clips import LATE, STEPS, encode, folder_of, number_in, picture, png, tone_piece

from tracker.core import Frame, TrackerError
from tracker.sources import (
    Camera,
    ImageFolder,
    Source,
    SourceError,
    VideoFile,
    _linux_cameras,
    cameras,
    open_source,
    read_ahead,
)

TIMED: dict[str, dict[str, Any]] = {
    "constant.mp4": {},
    "variable.mp4": {"times": STEPS},
    "variable.mkv": {"times": STEPS},
    "late.mp4": {"times": LATE},
    "reordered.mp4": {"times": LATE, "options": {"bf": "3", "x264-params": "b-adapt=0"}},
    "reordered.avi": {"options": {"bf": "3", "x264-params": "b-adapt=0"}},
    "fragments.mp4": {"options": {"g": "5", "bf": "0"}, "container": {"movflags": "frag_keyframe+empty_moov"}},
    "odd.mkv": {"codec": "ffv1", "pixels": "yuv444p", "size": (97, 65)},
    "ten_bits.mp4": {"pixels": "yuv420p10le"},
    "photos.avi": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "small.webm": {"codec": "libvpx"},
}
"""Containers that keep the times they are given."""

RAW: dict[str, dict[str, Any]] = {
    "raw.h264": {},
    "raw.mjpeg": {"codec": "mjpeg", "pixels": "yuvj420p", "rate": 25},
}
"""Files without times, with the rate at which they are played."""


def times_of(kind: dict[str, Any]) -> list[float]:
    times = kind.get("times", 30)
    return [number / 10 for number in range(times)] if isinstance(times, int) else [float(time) for time in times]


@pytest.mark.parametrize("name", TIMED)
def test_a_file_gives_every_picture_in_order_at_the_time_it_states(tmp_path: Path, name: str) -> None:
    kind = TIMED[name]
    with VideoFile(encode(tmp_path / name, **kind)) as source:
        frames = list(source)
    expected = times_of(kind)
    assert [number_in(frame.image) for frame in frames] == list(range(len(expected)))
    assert [frame.index for frame in frames] == list(range(len(expected)))
    assert [frame.time for frame in frames] == pytest.approx(expected, abs=5e-4)  # Matroska counts in milliseconds
    assert all(frame.timed for frame in frames)
    assert source.size == kind.get("size", (96, 64))
    assert source.problem is None


@pytest.mark.parametrize(("name", "codec"), [("a.mpg", "mpeg2video"), ("a.ts", "libx264")])
def test_a_stream_with_its_own_start_keeps_it(tmp_path: Path, name: str, codec: str) -> None:
    path = encode(tmp_path / name, codec=codec, rate=25)
    frames = list(VideoFile(path))
    with av.open(str(path)) as container:
        stated = [frame.time for frame in container.decode(video=0)]
    assert [number_in(frame.image) for frame in frames] == list(range(30))
    assert [frame.time for frame in frames] == pytest.approx(stated)
    assert frames[0].time > 0
    assert np.diff([frame.time for frame in frames]) == pytest.approx(np.full(29, 0.04), abs=1e-4)


@pytest.mark.parametrize("cut", [False, True])
def test_a_stream_that_was_put_together_or_cut_anywhere_is_sought_as_it_is_played(tmp_path: Path, cut: bool) -> None:
    data = encode(tmp_path / "a.ts", rate=25, times=60, options={"g": "15"}).read_bytes()
    path = tmp_path / "b.ts"
    path.write_bytes(data[len(data) // 188 // 3 * 188 :] if cut else data + data)  # TS comes in packets of 188 bytes
    whole = [(frame.time, number_in(frame.image)) for frame in VideoFile(path)]
    assert 20 < len(whole) < 60 if cut else len(whole) == 120
    for start in (1, 20, len(whole) * 3 // 4, len(whole) - 1):
        rest = [(frame.index, frame.time, number_in(frame.image)) for frame in VideoFile(path).frames(start)]
        assert rest == [(index, *whole[index]) for index in range(start, len(whole))]


def test_a_stream_that_the_head_of_a_file_does_not_name_is_damage(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.flv", times=60)
    data = b"\x2f" + bytes(40)  # of an MP3
    tag = b"\x08" + len(data).to_bytes(3, "big") + (5900).to_bytes(3, "big") + bytes(4) + data
    path.write_bytes(path.read_bytes() + tag + len(tag).to_bytes(4, "big"))
    source = VideoFile(path)
    assert [number_in(frame.image) for frame in source] == list(range(60))
    assert source.problem is not None
    assert "a.flv: the recording breaks off after frame 60" in source.problem
    assert source.times is not None
    assert len(source.times) == 60


@pytest.mark.parametrize("name", RAW)
def test_a_file_without_times_is_played_at_its_nominal_rate_and_says_so(tmp_path: Path, name: str) -> None:
    source = VideoFile(encode(tmp_path / name, **RAW[name]))
    frames = list(source)
    rate = RAW[name].get("rate", 10)
    assert source.rate == rate
    assert [number_in(frame.image) for frame in frames] == list(range(30))
    assert [frame.time for frame in frames] == pytest.approx([number / rate for number in range(30)])
    assert not any(frame.timed for frame in frames)
    assert source.problem is None


@pytest.mark.parametrize("name", [*TIMED, *RAW, "a.mpg", "a.ts"])
def test_frames_from_any_number_on_are_those_of_a_whole_pass(tmp_path: Path, name: str) -> None:
    kinds: dict[str, dict[str, Any]] = {"a.mpg": {"codec": "mpeg2video", "rate": 25}, "a.ts": {"rate": 25}}
    kind = {**TIMED, **RAW, **kinds}[name]
    kind = {**kind, "options": {"g": "7", **kind.get("options", {})}}  # several key pictures
    source = VideoFile(encode(tmp_path / name, **kind))
    whole = [(frame.index, frame.time, number_in(frame.image)) for frame in source]
    for start in (0, 1, 6, 7, 8, 20, len(whole) - 1):
        rest = [(frame.index, frame.time, number_in(frame.image)) for frame in source.frames(start)]
        assert rest == whole[start:]
    assert list(source.frames(len(whole))) == []
    if name in TIMED:  # and they are found without decoding what is before
        assert source.times is not None
        assert source.times.tolist() == pytest.approx([time for _, time, _ in whole])


ONE = 1 << 16
QUARTERS = {0: (ONE, 0, 0, ONE), 90: (0, ONE, -ONE, 0), 180: (-ONE, 0, 0, -ONE), 270: (0, -ONE, ONE, 0)}
"""Degrees clockwise to a, b, c, d of QuickTime's matrix, by which (x, y) is shown at (a x + c y, b x + d y)."""


@pytest.mark.parametrize("degrees", QUARTERS)
def test_pictures_are_upright(tmp_path: Path, degrees: int) -> None:
    a, b, c, d = QUARTERS[degrees]
    path = encode(tmp_path / "turned.mp4", times=1, aspect=Fraction(4, 3))
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 44  # the matrix of a track header
    assert struct.unpack_from(">9i", data, place) == (ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30)
    struct.pack_into(">9i", data, place, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    source = VideoFile(path)
    (frame,) = source
    upright = np.rot90(picture(0), -degrees // 90)
    assert source.size == (upright.shape[1], upright.shape[0])
    assert source.pixel_aspect == (Fraction(3, 4) if degrees in (90, 270) else Fraction(4, 3))
    assert next(iter(source)).aspect == float(source.pixel_aspect), "signals need it"
    assert frame.image.shape == upright.shape
    dark, bright = upright.mean(axis=2) < 1, upright.mean(axis=2) >= 1
    assert frame.image[dark].mean() < 40 < 90 < frame.image[bright].mean()


def test_colours_survive(tmp_path: Path) -> None:
    """Saturated colours, through a lossless RGB file: red stays red."""
    path = tmp_path / "red.mkv"
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream("ffv1", 10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "bgr0"
        red = np.full((32, 32, 3), (200, 30, 10), np.uint8)
        output.mux(stream.encode(av.VideoFrame.from_ndarray(red, format="rgb24")))
        output.mux(stream.encode(None))
    (frame,) = VideoFile(path)
    assert np.array_equal(frame.image, red)


def test_threads_change_nothing(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", options={"bf": "2"})
    one, many = list(VideoFile(path)), list(VideoFile(path, threads=0))
    assert all(np.array_equal(a.image, b.image) and a.time == b.time for a, b in zip(one, many, strict=True))


def test_a_change_of_size_within_a_file_is_delivered_as_it_is(tmp_path: Path) -> None:
    parts = [encode(tmp_path / f"{side}.h264", size=(side, 64), times=5) for side in (96, 144)]
    path = tmp_path / "both.h264"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    source = VideoFile(path)
    assert [frame.image.shape[1] for frame in source] == [96] * 5 + [144] * 5
    assert source.size == (96, 64)
    assert source.problem is None


CUT: dict[str, dict[str, Any]] = {
    "a.mp4": {"container": {"movflags": "faststart"}},
    "sound.mp4": {"container": {"movflags": "faststart"}, "sound": "aac"},
    "a.mkv": {},
    "a.avi": {"codec": "mpeg4"},
    "a.mpg": {"codec": "mpeg2video", "rate": 25},
    "a.flv": {},
}


@pytest.mark.parametrize("name", CUT)
def test_of_a_file_cut_in_the_middle_all_is_delivered_that_is_there(tmp_path: Path, name: str) -> None:
    path = encode(tmp_path / name, times=40, **CUT[name])
    whole = VideoFile(path)
    assert len(list(whole)) == 40
    assert whole.problem is None
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    source = VideoFile(path)
    numbers = [number_in(frame.image) for frame in source]
    assert 10 < len(numbers) < 35
    assert numbers[:-1] == list(range(len(numbers) - 1))  # half of the last may be missing
    assert source.problem is not None
    assert str(path) in source.problem
    assert f"breaks off after frame {len(numbers)};" in source.problem
    assert "\n" not in source.problem


def test_a_file_that_claims_more_pictures_than_bytes_is_refused(tmp_path: Path) -> None:
    """They would cost memory and seconds at every look into it: 83 million in 5 KB, three gigabytes."""
    path = encode(tmp_path / "a.mp4", times=6, options={"g": "3"}, container={"movflags": "frag_keyframe+empty_moov"})
    data = bytearray(path.read_bytes())
    run = data.rindex(b"trun") + 4
    data[run : run + 8] = struct.pack(">II", 0, 100_000)  # so many of the usual size, nothing stated of each
    path.write_bytes(data)
    with pytest.raises(SourceError, match="more pictures or sounds than it has bytes"):
        open_source(path)


def test_a_damaged_picture_in_the_middle_does_not_end_the_film(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mov", codec="mjpeg", pixels="yuvj420p")
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][12]
        assert packet.pos is not None
        start, end = packet.pos, packet.pos + packet.size
    data = bytearray(path.read_bytes())
    data[start:end] = bytes(end - start)
    path.write_bytes(data)
    source = VideoFile(path)
    frames = list(source)
    left = [number for number in range(30) if number != 12]
    assert [number_in(frame.image) for frame in frames] == left
    assert [frame.time for frame in frames] == pytest.approx([number / 10 for number in left])
    assert [frame.index for frame in frames] == list(range(29))
    assert source.problem is not None
    assert "1 of its pictures" in source.problem
    assert "after frame 12" in source.problem


def test_each_iteration_starts_from_the_beginning(tmp_path: Path) -> None:
    source = VideoFile(encode(tmp_path / "a.mp4"))
    assert [next(iter(source)).index for _ in range(3)] == [0, 0, 0]
    assert len(list(source)) == len(list(source)) == 30


def song(path: Path, cover: bytes = b"") -> Path:
    """Sound alone, in an MP3 with a cover or in whatever the suffix says."""
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream("libmp3lame" if cover else "aac", 44100, layout="mono")
        for number in range(10):
            output.mux(stream.encode(tone_piece(number, 4410, stream.codec_context.format.name)))
        output.mux(stream.encode(None))
    if cover:
        frame = b"\0image/jpeg\0\3\0" + cover
        frame = b"APIC" + len(frame).to_bytes(4, "big") + b"\0\0" + frame
        size = bytes(len(frame) >> shift & 127 for shift in (21, 14, 7, 0))
        path.write_bytes(b"ID3\3\0\0" + size + frame + path.read_bytes())
    return path


def jpeg(image: Any) -> bytes:
    return bytes(cv2.imencode(".jpg", image)[1])


def cut_before_index(path: Path) -> Path:
    path.write_bytes(encode(path).read_bytes()[:-2000])
    return path


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing.mp4": (lambda path: None, "no such file"),
    "empty.mp4": (lambda path: written(path, b""), "empty"),
    "text.mp4": (lambda path: written(path, b"This is a letter, not a film.\n" * 50), "not a video"),
    "noise.avi": (lambda path: written(path, np.random.default_rng(0).bytes(5000)), "not a video"),
    "sound.mp4": (song, "no video"),
    "cover.mp3": (lambda path: song(path, jpeg(picture(1))), "no video"),
    "unfinished.mp4": (cut_before_index, "index at the end of the file is missing"),
    "head.mp4": (lambda path: written(path, encode(path).read_bytes()[:600]), "index at the end"),
    "huge.avi": (lambda path: encode(path, codec="mjpeg", pixels="yuvj420p", size=(16400, 16), times=1), "16400"),
    "dark.mp4": (lambda path: written(path, bytes(3000)), "not a video"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    make, reason = BAD[name]
    path = tmp_path / name
    make(path)
    with pytest.raises(SourceError, match=reason) as caught:
        VideoFile(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, TrackerError)


def test_any_name_will_do(tmp_path: Path) -> None:
    for name in ("take: 2 %03d.mp4", "Gesicht-\N{LATIN SMALL LETTER U WITH DIAERESIS}\N{SNOWMAN}.mp4", "noend"):
        path = encode(tmp_path / "a.mp4", times=3).rename(tmp_path / name)
        assert len(list(open_source(str(path)))) == 3
    image = written(tmp_path / "\N{SNOWMAN} 1.png", bytes(cv2.imencode(".png", picture(3))[1]))
    assert [number_in(frame.image) for frame in open_source(image)] == [3]


def test_a_title_in_an_old_encoding_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as output:
        output.metadata["title"] = "Gesicht"
        stream: Any = output.add_stream("mjpeg", 10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuvj420p"
        output.mux(stream.encode(av.VideoFrame.from_ndarray(picture(5), format="rgb24")))
        output.mux(stream.encode(None))
    path.write_bytes(path.read_bytes().replace(b"Gesicht", b"M\xfcnchen"))
    assert [number_in(frame.image) for frame in VideoFile(path)] == [5]


# Folders of images


def test_a_folder_is_read_in_natural_order(tmp_path: Path) -> None:
    names = {"img10.png": 10, "img2.png": 2, "IMG1.PNG": 1, "img2b.png": 3}
    folder = folder_of(tmp_path / "f", {name: png(picture(number)) for name, number in names.items()})
    (folder / "notes.txt").write_text("not an image")
    (folder / "more.png").mkdir()
    source = ImageFolder(folder, rate=10)
    frames = list(source)
    assert [number_in(frame.image) for frame in frames] == [1, 2, 3, 10]
    assert [frame.time for frame in frames] == pytest.approx([0, 0.1, 0.2, 0.3])
    assert not any(frame.timed for frame in frames)
    assert [number_in(frame.image) for frame in source.frames(2)] == [3, 10]
    assert [frame.index for frame in source.frames(2)] == [2, 3]
    assert [file.name for file in source.files] == ["IMG1.PNG", "img2.png", "img2b.png", "img10.png"]
    assert source.length == 4


def exif(orientation: int) -> bytes:
    """A JPEG's segment that states the orientation and nothing else."""
    body = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + bytes([orientation, 0, 0, 0]) + bytes(4)
    return b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body


def test_every_kind_of_image_becomes_upright_rgb(tmp_path: Path) -> None:
    bgr = np.zeros((20, 30, 3), np.uint8)
    bgr[:10] = (10, 30, 200)
    plain = jpeg(bgr)
    images = {
        "1.png": png(bgr),
        "2.png": png(bgr[..., 2]),
        "3.png": png(np.dstack([bgr, np.full((20, 30), 255, np.uint8)])),
        "4.png": png(bgr.astype(np.uint16) * 257),
        "5.bmp": bytes(cv2.imencode(".bmp", bgr)[1]),
        "6.tif": bytes(cv2.imencode(".tif", bgr)[1]),
        "7.jpg": plain[:2] + exif(6) + plain[2:],
        "8.webp": bytes(cv2.imencode(".webp", bgr)[1]),
    }
    frames = list(ImageFolder(folder_of(tmp_path / "f", images)))
    for frame in frames:
        red, green, blue = frame.image[2, -3].astype(int)  # the upper part, or, of the picture on its side, the right
        grey = frame.index == 1
        assert (red, green, blue) == pytest.approx((200, 200, 200) if grey else (200, 30, 10), abs=8)
    assert frames[6].image.shape == (30, 20, 3)
    assert frames[6].image[2, 2].max() < 20


def test_a_film_of_more_than_eight_bits_does_not_flicker(tmp_path: Path) -> None:
    """A camera of 12 bits: what is dark in one picture is not made as bright as in the others."""
    shades = (200, 20, 100)
    images = {f"{number}.png": png(np.full((20, 30, 3), 16 * shade, np.uint16)) for number, shade in enumerate(shades)}
    assert [frame.image[0, 0, 0] for frame in ImageFolder(folder_of(tmp_path / "f", images))] == list(shades)


def test_an_unreadable_image_is_named_and_the_rest_keep_their_places(tmp_path: Path) -> None:
    images = {"1.png": png(picture(1)), "2.png": b"nothing", "3.png": b"", "4.png": png(picture(4, 48, 48))}
    source = ImageFolder(folder_of(tmp_path / "f", images))
    frames = list(source)
    assert [(frame.index, number_in(frame.image)) for frame in frames] == [(0, 1), (3, 4)]
    assert frames[1].image.shape == (48, 48, 3)
    assert source.problem is not None
    assert "2.png and 1 more" in source.problem
    assert "\n" not in source.problem


@pytest.mark.parametrize("images", [{}, {"notes.txt": b"no"}, {"1.png": b"broken"}])
def test_a_folder_without_images_is_refused(tmp_path: Path, images: dict[str, bytes]) -> None:
    with pytest.raises(SourceError, match="no image") as caught:
        ImageFolder(folder_of(tmp_path / "f", images))
    assert "\n" not in str(caught.value)


# Cameras


class Tape:
    """A capture that plays numbered pictures and is then unplugged; ``gate`` is passed before each picture."""

    def __init__(self, numbers: Iterable[int], gate: threading.Semaphore | None = None) -> None:
        self.left = (cv2.cvtColor(picture(number), cv2.COLOR_RGB2BGR) for number in numbers)
        self.gate = gate
        self.plugged = True
        self.released = threading.Event()

    def isOpened(self) -> bool:
        return self.plugged

    def read(self) -> tuple[bool, Any]:
        if self.gate:
            self.gate.acquire()
        image = next(self.left, None)
        self.plugged = image is not None
        return self.plugged, image

    def release(self) -> None:
        self.released.set()


def test_a_camera_gives_its_newest_picture_and_counts_the_others() -> None:
    tape = Tape(range(20))
    camera = Camera("tape", capture=tape)
    tape.released.wait()  # now all are read
    frames = iter(camera)
    assert number_in(next(frames).image) == 19
    assert camera.dropped == 19
    with pytest.raises(SourceError, match=r"tape.*plug it in"):
        next(frames)


def test_a_camera_waits_for_the_next_picture() -> None:
    gate = threading.Semaphore(1)
    with Camera("tape", capture=Tape(range(5), gate), patience=60) as camera:
        frames = []
        for frame in camera:
            frames.append(frame)
            if len(frames) == 5:
                break
            gate.release()
        gate.release()  # lets the reader go
    assert [number_in(frame.image) for frame in frames] == [frame.index for frame in frames] == [0, 1, 2, 3, 4]
    assert frames[0].time == 0
    assert np.all(np.diff([frame.time for frame in frames]) >= 0)
    assert camera.dropped == 0
    assert camera.live


def test_a_camera_that_hangs_is_given_up() -> None:
    gate = threading.Semaphore(1)
    camera = Camera("tape", capture=Tape(range(5), gate), patience=0.05)
    frames = iter(camera)
    next(frames)
    with pytest.raises(SourceError, match="no more pictures"):
        next(frames)
    gate.release(10)
    camera.close()


def test_a_camera_is_released() -> None:
    tape = Tape(range(50))
    with Camera("tape", capture=tape) as camera:
        next(iter(camera))
    assert tape.released.is_set()
    assert list(camera) == []
    camera.close()


def test_a_camera_without_pictures_is_refused() -> None:
    tape = Tape(range(0))
    with pytest.raises(SourceError, match=r"tape.*no picture"):
        Camera("tape", capture=tape)
    assert tape.released.is_set()


def test_a_camera_reads_what_cv2_reads(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.avi", codec="mjpeg", pixels="yuvj420p")
    camera = Camera("film", capture=cv2.VideoCapture(str(path)), patience=0.05)
    numbers: list[int] = []
    with pytest.raises(SourceError, match="film"):  # a file does not go on for ever
        numbers.extend(number_in(frame.image) for frame in camera)
    camera.close()
    assert numbers == sorted(set(numbers))
    assert camera.size == (96, 64)


def test_an_absent_camera_is_refused_and_those_there_are_listed() -> None:
    assert all(isinstance(index, int) and isinstance(name, str) for index, name in cameras())
    for text in ("987", "camera:No Such Camera", "camera:987"):
        with pytest.raises(SourceError, match="choose one of those attached: ") as caught:
            open_source(text)
        assert "\n" not in str(caught.value)


def test_on_linux_a_camera_is_listed_once_by_the_node_that_gives_pictures(tmp_path: Path) -> None:
    for node, index, name in [("video10", 0, "Second"), ("video2", 0, "First: 720p"), ("video3", 1, "First: 720p")]:
        (tmp_path / node).mkdir()
        (tmp_path / node / "index").write_text(f"{index}\n")
        (tmp_path / node / "name").write_text(f"{name}\n")
    assert _linux_cameras(tmp_path) == [(2, "First: 720p"), (10, "Second")]
    assert _linux_cameras(tmp_path / "none") == []


# What holds for all of them


def test_open_source_finds_out_what_is_meant(tmp_path: Path) -> None:
    film = encode(tmp_path / "a.mp4", times=2)
    folder = folder_of(tmp_path / "f", {"1.png": png(picture(1))})
    assert isinstance(open_source(str(film)), VideoFile)
    assert isinstance(open_source(folder), ImageFolder)
    assert isinstance(open_source(folder / "1.png"), ImageFolder)
    with pytest.raises(SourceError, match="no such file, folder or camera"):
        open_source(tmp_path / "7")
    with pytest.raises(SourceError, match="no such file, folder or camera"):
        open_source("ftp://somewhere/stream")


def film_source(path: Path) -> Source:
    return VideoFile(encode(path / "a.mp4"))


def folder_source(path: Path) -> Source:
    return ImageFolder(folder_of(path / "f", {f"{number}.png": png(picture(number)) for number in range(5)}))


def camera_source(path: Path) -> Source:
    return Camera("tape", capture=Tape(itertools.repeat(5)), patience=60)


@pytest.fixture(params=[film_source, folder_source, camera_source])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Source]:
    with request.param(tmp_path) as made:
        yield made


def test_every_source_keeps_the_contract(source: Source) -> None:
    frames = []
    for frame in source:
        frames.append(frame)
        if len(frames) == 3:
            source.close()  # ends the iteration at its next step
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert all(a.time < b.time for a, b in itertools.pairwise(frames))
    for frame in frames:
        assert (frame.image.shape[1], frame.image.shape[0]) == source.size
        assert frame.image.dtype == np.uint8
        assert frame.image.flags.c_contiguous
        with pytest.raises(ValueError, match="read-only"):
            frame.image[0, 0] = 0
        assert isinstance(frame.time, float)
    kept = [frame.image for frame in frames]
    assert not any(np.shares_memory(a, b) for a, b in itertools.pairwise(kept))
    assert source.name
    assert source.rate is None or source.rate > 0
    assert source.length is None or source.length >= 3
    assert source.live == isinstance(source, Camera)
    assert source.problem is None
    source.close()


def test_a_frame_is_its_holders_own_and_its_memory_used_again_when_let_go(clip: Path) -> None:
    with open_source(clip) as source:
        copies = [frame.image.copy() for frame in source]
        held = list(source)
        assert len(held) == len(copies) > 32
        for frame, copy in zip(held, copies, strict=True):
            np.testing.assert_array_equal(frame.image, copy)
        part = held[3].image[10:20, 10:20]
        kept = part.copy()
        del held, frame
        places = {frame.image.ctypes.data for frame in source}
        assert len(places) <= 4, "memory is used again"
        np.testing.assert_array_equal(part, kept)


def test_reading_ahead_gives_every_frame_in_order_and_what_goes_wrong(clip: Path) -> None:
    with open_source(clip) as source:
        ahead = read_ahead(source)
        assert [frame.index for frame, spent in ahead if spent >= 0] == list(range(60))
        first, _ = next(read_ahead(source))
        assert first.index == 0, "it can be left at any frame"

    class Broken:
        name = "broken"

        def __iter__(self) -> Iterator[Frame]:
            yield first
            raise SourceError("it broke")

    frames = read_ahead(Broken())  # type: ignore[arg-type]
    assert next(frames)[0] is first
    with pytest.raises(SourceError, match="it broke"):
        next(frames)
