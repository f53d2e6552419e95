"""Annotated videos written and read back, and what holds for every kind of output. A picture carries its number as
black and white blocks, which survive coding."""

import logging
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from clips import LATE, STEPS, encode, folder_of, number_in, picture, png

from tracker.core import Box, Crop, Face, Frame, Image, Result
from tracker.markup import Markup
from tracker.sinks import CSVSink, Sink, SinkError, VideoSink, open_sink
from tracker.sources import ImageFolder, Source, VideoFile
from tracker.video import video_suffix

TWO = Markup("two", 2, {}, (), (1, 0), ((0,), (1,)), (0, 0, 1))


def plain(result: Result) -> Image:
    return result.frame.image


def copy(source: Source, path: Path, draw: Callable[[Result], Image] = plain, sound: bool = True) -> VideoSink:
    with VideoSink(path, source, draw, sound=sound) as sink:
        for frame in source:
            sink.write(Result(frame, ()))
    return sink


# Videos


CLIPS: dict[str, dict[str, Any]] = {
    "constant.mp4": {},
    "variable.mp4": {"times": STEPS},
    "variable.mkv": {"times": STEPS},
    "late.mp4": {"times": [Fraction(1001, 24000) * (number + 40) for number in range(25)]},
    "reordered.avi": {"options": {"bf": "3", "x264-params": "b-adapt=0"}},
    "ntsc.mpg": {"codec": "mpeg2video", "rate": 25},
    "raw.h264": {},
    "odd.mkv": {"codec": "ffv1", "pixels": "yuv444p", "size": (97, 65)},
}


def test_a_video_that_is_never_finished_can_be_played(tmp_path: Path) -> None:
    source = VideoFile(encode(tmp_path / "in.mp4", times=150))  # fifteen seconds
    with VideoSink(tmp_path / "out.mp4", source, plain, sound=False) as sink:
        for frame in source:
            sink.write(Result(frame, ()))
        shutil.copy(sink.part, tmp_path / "left.mp4")  # what a killed program leaves
    frames = list(VideoFile(tmp_path / "left.mp4"))
    assert [number_in(frame.image) for frame in frames] == [number % 64 for number in range(len(frames))]
    assert [frame.time for frame in frames] == pytest.approx([number / 10 for number in range(len(frames))], abs=2e-5)
    assert 60 < len(frames) < 150, "but for what the encoder still had"
    assert len(list(VideoFile(tmp_path / "out.mp4"))) == 150


@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize("sound", [True, False])
def test_every_picture_comes_back_at_its_time(tmp_path: Path, name: str, sound: bool) -> None:
    source = VideoFile(encode(tmp_path / name, **CLIPS[name]))
    sink = copy(source, tmp_path / "out.mp4", sound=sound)
    before, after = list(source), list(VideoFile(tmp_path / "out.mp4"))
    assert [number_in(frame.image) for frame in after] == list(range(len(before)))
    assert [frame.time for frame in after] == pytest.approx([frame.time for frame in before], abs=2e-5)
    width, height = source.size
    assert after[0].image.shape == (height + height % 2, width + width % 2, 3)
    assert sink.lost_sound is None


def test_the_last_picture_is_shown_as_long_as_the_others(tmp_path: Path) -> None:
    copy(VideoFile(encode(tmp_path / "a.mp4", times=20)), tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.duration is not None
        assert stream.time_base is not None
        assert float(stream.duration * stream.time_base) == pytest.approx(2.0, abs=1e-4)


def test_colours_survive(tmp_path: Path) -> None:
    colours = [(200, 30, 10), (10, 180, 60), (30, 40, 220), (250, 250, 250), (5, 5, 5), (220, 160, 130)]
    image = np.repeat(np.array(colours, np.uint8)[None], 64, axis=0).repeat(16, axis=1)
    source = ImageFolder(folder_of(tmp_path / "f", {"1.png": png(np.ascontiguousarray(image[..., ::-1]))}))
    copy(source, tmp_path / "out.mp4")
    (frame,) = VideoFile(tmp_path / "out.mp4")
    assert frame.image[32, 8::16].astype(int) == pytest.approx(np.array(colours), abs=6)


def test_what_is_drawn_is_what_is_seen(tmp_path: Path) -> None:
    source = VideoFile(encode(tmp_path / "a.mp4", times=5))
    copy(source, tmp_path / "out.mp4", lambda result: picture(63 - result.frame.index))
    assert [number_in(frame.image) for frame in VideoFile(tmp_path / "out.mp4")] == [63, 62, 61, 60, 59]


def test_a_pixel_keeps_its_shape(tmp_path: Path) -> None:
    source = VideoFile(encode(tmp_path / "a.mp4", times=2, aspect=Fraction(4, 3)))
    copy(source, tmp_path / "out.mp4")
    assert VideoFile(tmp_path / "out.mp4").pixel_aspect == Fraction(4, 3)


def test_times_that_stand_still_or_go_back_are_moved_on(tmp_path: Path) -> None:
    source = VideoFile(encode(tmp_path / "a.mp4", times=8))
    with VideoSink(tmp_path / "out.mp4", source, plain) as sink:
        for frame, time in zip(source, (1.0, 1.0, 1.0, 0.5, 1.1, 1.1, 1.2, 1.3), strict=True):
            sink.write(Result(Frame(frame.image, frame.index, time), ()))
    frames = list(VideoFile(tmp_path / "out.mp4"))
    assert [number_in(frame.image) for frame in frames] == list(range(8))
    assert [frame.time for frame in frames] == pytest.approx([1, 1, 1, 1.1, 1.1, 1.1, 1.2, 1.3], abs=1e-4)
    assert np.all(np.diff([frame.time for frame in frames]) > 0)


def test_pictures_of_another_size_are_fitted_in(tmp_path: Path) -> None:
    images = {"1.png": picture(1), "2.png": picture(2, 48, 48), "3.png": picture(3, 300, 200)}
    source = ImageFolder(folder_of(tmp_path / "f", {name: png(image) for name, image in images.items()}), rate=5)
    copy(source, tmp_path / "out.mp4")
    frames = list(VideoFile(tmp_path / "out.mp4"))
    assert [frame.image.shape for frame in frames] == [(64, 96, 3)] * 3
    assert number_in(frames[1].image[:, 16:80]) == 2
    assert frames[1].image[:, :14].max() < 30
    assert number_in(frames[2].image) == 3
    assert [frame.time for frame in frames] == pytest.approx([0, 0.2, 0.4], abs=1e-4)


def sound_of(path: Path, codecs: Sequence[str] = ()) -> tuple[list[bytes], float, float]:
    """The packets of the sound, and when what can be heard starts and ends, in seconds."""
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(audio=0) if packet.size]
        assert container.streams.audio[0].codec_context.codec.canonical_name in codecs
    with av.open(str(path)) as container:
        pieces: list[Any] = list(container.decode(audio=0))
    return packets, pieces[0].time, pieces[-1].time + pieces[-1].samples / pieces[-1].sample_rate


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.mp4", {"sound": "aac"}),
        ("late.mp4", {"sound": "aac", "times": LATE}),
        ("a.avi", {"sound": "libmp3lame", "codec": "mpeg4"}),
        ("a.mkv", {"sound": "ac3"}),
        ("a.mpg", {"sound": "mp2", "codec": "mpeg2video", "rate": 25}),
    ],
)
def test_sound_is_copied_packet_by_packet_and_in_step(tmp_path: Path, name: str, kind: dict[str, Any]) -> None:
    path = encode(tmp_path / name, **kind)
    sink = copy(VideoFile(path), tmp_path / "out.mp4")
    assert sink.lost_sound is None
    codecs = ("aac", "mp3", "mp2", "ac3")
    packets, start, end = sound_of(path, codecs)
    copied, copied_start, copied_end = sound_of(tmp_path / "out.mp4", codecs)
    assert copied == packets
    assert (copied_start, copied_end) == pytest.approx((start, end), abs=2e-3)
    first = [next(iter(VideoFile(file))).time for file in (path, tmp_path / "out.mp4")]
    assert first[1] == pytest.approx(first[0], abs=5e-4)


def test_sound_in_a_transport_stream_keeps_its_time(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.ts", sound="aac")
    copy(VideoFile(path), tmp_path / "out.mp4")
    packets, start, end = sound_of(path, ["aac"])
    copied, copied_start, copied_end = sound_of(tmp_path / "out.mp4", ["aac"])
    assert len(copied) == len(packets)  # each without the header that only this container needs
    assert (copied_start, copied_end) == pytest.approx((start, end), abs=2e-3)


def test_times_that_jump_back_go_on_with_pictures_and_sound(tmp_path: Path) -> None:
    part = encode(tmp_path / "part.ts", sound="aac").read_bytes()
    path = tmp_path / "a.ts"
    path.write_bytes(part + part)  # as some recorders leave their files, put together
    copy(VideoFile(path), tmp_path / "out.mp4")
    frames = list(VideoFile(tmp_path / "out.mp4"))
    assert [number_in(frame.image) for frame in frames] == [*range(30), *range(30)]
    assert np.diff([frame.time for frame in frames]) == pytest.approx(np.full(59, 0.1), abs=1e-3)
    packets, start, _ = sound_of(tmp_path / "part.ts", ["aac"])
    copied, copied_start, copied_end = sound_of(tmp_path / "out.mp4", ["aac"])
    assert 2 * len(packets) - 3 <= len(copied) <= 2 * len(packets)
    assert copied_start == pytest.approx(start, abs=2e-3)
    assert copied_end == pytest.approx(start + 6, abs=0.1)


def test_sound_that_mp4_does_not_carry_is_left_out_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = encode(tmp_path / "a.avi", codec="mpeg4", sound="pcm_s16le")
    with caplog.at_level(logging.WARNING):
        sink = copy(VideoFile(path), tmp_path / "out.mp4")
    assert sink.lost_sound == "pcm_s16le"
    assert "pcm_s16le" in caplog.text
    assert len(list(VideoFile(tmp_path / "out.mp4"))) == 30
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert not container.streams.audio


@pytest.mark.parametrize(("encoder", "codec"), [("pcm_s16le", "pcm_s16le"), ("pcm_s24le", "pcm_s24le")])
def test_sound_that_mp4_does_not_carry_goes_into_a_matroska_file(tmp_path: Path, encoder: str, codec: str) -> None:
    path = encode(tmp_path / "a.mkv", sound=encoder, times=STEPS)
    source = VideoFile(path)
    assert video_suffix(source) == ".mkv"
    sink = copy(source, tmp_path / "out.mkv")
    assert sink.lost_sound is None
    packets, start, end = sound_of(path, [codec])
    copied, copied_start, copied_end = sound_of(tmp_path / "out.mkv", [codec])
    assert b"".join(copied) == b"".join(packets)
    assert (copied_start, copied_end) == pytest.approx((start, end), abs=2e-3)
    frames = list(VideoFile(tmp_path / "out.mkv"))
    assert [number_in(frame.image) for frame in frames] == list(range(len(STEPS)))
    assert [frame.time for frame in frames] == pytest.approx([float(time) for time in STEPS], abs=1e-3)


def test_sound_that_mp4_carries_stays_in_an_mp4(tmp_path: Path) -> None:
    assert video_suffix(VideoFile(encode(tmp_path / "a.mkv", sound="aac", times=3))) == ".mp4"
    assert video_suffix(ImageFolder(folder_of(tmp_path / "f", {"1.png": png(picture(1))}))) == ".mp4"


def test_the_sound_can_be_left_out(tmp_path: Path) -> None:
    source = VideoFile(encode(tmp_path / "a.mp4", sound="aac", times=3))
    with VideoSink(tmp_path / "out.mp4", source, plain, sound=False) as sink:
        for frame in source:
            sink.write(Result(frame, ()))
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert not container.streams.audio


def test_the_sound_ends_with_the_pictures_when_one_stops_early(tmp_path: Path) -> None:
    source = VideoFile(encode(tmp_path / "a.mp4", sound="aac", times=40))
    with VideoSink(tmp_path / "out.mp4", source, plain) as sink:
        for frame in source:
            if frame.index == 10:
                break
            sink.write(Result(frame, ()))
    *_, end = sound_of(tmp_path / "out.mp4", ["aac"])
    assert 1.0 <= end <= 2.1


def test_a_recording_that_starts_before_zero_starts_at_zero(tmp_path: Path) -> None:
    source = VideoFile(encode(tmp_path / "a.mp4", sound="aac", times=10))
    with VideoSink(tmp_path / "out.mp4", source, plain) as sink:
        for frame in source:
            sink.write(Result(Frame(frame.image, frame.index, frame.time - 0.25), ()))
    frames = list(VideoFile(tmp_path / "out.mp4"))
    assert [frame.time for frame in frames] == pytest.approx([number / 10 for number in range(10)], abs=1e-4)
    _, start, _ = sound_of(tmp_path / "out.mp4", ["aac"])
    assert start == pytest.approx(0.25, abs=0.03)  # AAC starts with a little silence


def test_a_video_does_not_overwrite_what_it_is_made_from(tmp_path: Path) -> None:
    film = encode(tmp_path / "film.mp4", times=3)
    for name in ("a.mp4", "a.mp4.part"):
        path = film = film.rename(tmp_path / name)
        with pytest.raises(SinkError, match="being read"):
            VideoSink(tmp_path / "a.mp4", VideoFile(path), plain)
        assert len(list(VideoFile(path))) == 3


def test_a_video_without_pictures_is_not_made(tmp_path: Path) -> None:
    source = VideoFile(encode(tmp_path / "a.mp4", times=3))
    with pytest.raises(SinkError, match="no picture"):
        VideoSink(tmp_path / "out.mp4", source, plain).close()
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


# What holds for all of them


@pytest.fixture(params=[".csv", ".jsonl", ".npz", ".parquet", ".mp4", ".mkv"])
def making(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Source, Callable[[], Sink]]:
    """The path of a file to be, its source, and what makes the sink."""
    path = tmp_path / "out" / f"result{request.param}"
    source = VideoFile(encode(tmp_path / "a.mkv", times=5, sound="aac"))
    return path, source, lambda: open_sink(path, source, TWO, plain)


def results(source: Source) -> Iterator[Result]:
    points = np.array([(1, 2), (3, 4)], np.float32)
    face = Face(1, points, 0.9, Box.around(points), Crop(10, 10, 20, 64))
    return (Result(frame, (face,)) for frame in source)


def test_a_file_takes_its_name_when_it_is_whole(making: tuple[Path, Source, Callable[[], Sink]]) -> None:
    path, source, make = making
    path.parent.mkdir()
    path.write_text("older")
    with make() as sink:
        for result in results(source):
            sink.write(result)
            assert path.read_text() == "older"
    assert sink.path == path
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert path.stat().st_size > 100
    sink.close()
    sink.abort()
    with pytest.raises(ValueError, match="after the end"):
        sink.write(result)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_what_is_given_up_keeps_its_temporary_name(making: tuple[Path, Source, Callable[[], Sink]]) -> None:
    path, source, make = making
    path.parent.mkdir()
    path.write_text("older")
    with pytest.raises(KeyboardInterrupt), make() as sink:  # noqa: PT012
        for result in results(source):
            sink.write(result)
        raise KeyboardInterrupt
    assert path.read_text() == "older"
    part = path.with_name(path.name + ".part")
    assert part.stat().st_size > 100
    if path.suffix in (".mp4", ".mkv"):
        assert len(list(VideoFile(part))) == 5
    make().abort()  # the next attempt may use the name again


def test_a_place_that_cannot_be_written_is_refused_in_one_line(
    making: tuple[Path, Source, Callable[[], Sink]],
) -> None:
    path, _, make = making
    path.parent.write_text("a file where the folder should be")
    with pytest.raises(SinkError) as caught:
        make()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    path.parent.unlink()
    path.mkdir(parents=True)
    with pytest.raises(SinkError, match="folder has this name"):
        make()


def test_of_two_that_write_one_file_the_later_one_has_it(making: tuple[Path, Source, Callable[[], Sink]]) -> None:
    """As when a process that was thought dead is still at it."""
    path, source, make = making
    earlier = make()
    kept = list(results(source))
    earlier.write(kept[0])
    with make() as later:
        for result in kept:
            later.write(result)
        with pytest.raises(SinkError, match="another process"):
            earlier.close()
        earlier.discard()
    whole = path.stat().st_size
    with make() as again:
        for result in kept:
            again.write(result)
    # but for the number of a Matroska file, and for how an MP4 file lays sound between pictures
    assert path.stat().st_size == pytest.approx(whole, abs=256)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_full_disk_is_reported_in_one_line(making: tuple[Path, Source, Callable[[], Sink]]) -> None:
    resource = pytest.importorskip("resource")
    path, source, make = making
    kept = list(results(source))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))
    try:
        with pytest.raises(SinkError) as caught, make() as sink:  # noqa: PT012
            for repeat in range(100):
                for result in kept:
                    frame = Frame(result.frame.image, result.frame.index, result.frame.time + repeat)
                    sink.write(Result(frame, result.faces))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not path.exists()


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    source = VideoFile(encode(tmp_path / "a.mp4", times=1))
    for name in ("a.xlsx", "a", "a.avi"):
        with pytest.raises(SinkError, match=r"\.csv, .*\.mp4"):
            open_sink(tmp_path / name, source, TWO, plain)
    with open_sink(tmp_path / "A.CSV", source, TWO, plain) as sink:
        assert isinstance(sink, CSVSink)
