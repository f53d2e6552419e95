"""One source, and the pipelines that run it: another model takes a new pipeline, another source a new reader."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from PyQt6.QtCore import QObject, pyqtSignal

from app.pipeline import Pipeline
from app.reader import Reader
from app.recording import Recording
from app.settings import Settings
from tracker.backends import Spec
from tracker.core import TrackerError
from tracker.sources import Source

RELOAD = ("model", "other", "device", "detector", "max_faces")
"""Settings whose change takes a new pipeline."""


class Session(QObject):
    """Runs one pipeline at a time and hands its news on. A pipeline that is to follow waits until the one before it
    has ended, so that the window never waits.

    ``news`` gives the News of the pipeline that runs; ``kept`` the files of a recording that has ended, of whichever
    pipeline; ``failed`` the TrackerError that ended the pipeline.
    """

    news = pyqtSignal(object)
    kept = pyqtSignal(object)
    failed = pyqtSignal(object)

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.reader: Reader | None = None
        self.pipeline: Pipeline | None = None
        self.working = settings
        """The last settings with which frames were processed."""
        self.playing = True
        self.index = 0
        """The frame of a file that was processed last."""
        self._settings = settings
        self._next: Pipeline | None = None

    @property
    def seekable(self) -> bool:
        return bool(self.reader and self.reader.seekable)

    @property
    def models(self) -> tuple[Spec, ...]:
        """The models that are in use, none while others are still loaded."""
        return self.pipeline.specs if self.pipeline and not self._next else ()

    def start(self, opening: Callable[[], Source]) -> None:
        """Run the source that ``opening`` opens, in place of the one before."""
        if self.reader:
            self.reader.close()
        self.reader, self.playing, self.index = Reader(opening, self.reader), True, 0
        self._run()

    def use(self, settings: Settings) -> None:
        """Go on with these settings."""
        before, self._settings = self._settings, settings
        if self._next or any(getattr(before, name) != getattr(settings, name) for name in RELOAD):
            if self.reader:
                self._run()
        elif self.pipeline:
            self.pipeline.pace(settings.speed, settings.loop)
            self.pipeline.smooth(settings.smooth, settings.cutoff, settings.beta)

    def play(self, on: bool) -> None:
        if self._next:
            self._run_from(self.index, on)
        elif self.pipeline and self.seekable:
            self.playing = on  # at once: if it is still loading, another may take its place before it obeys
            self.pipeline.play(on)

    def step(self, frames: int) -> None:
        if self._next:
            self._run_from(self.index + frames, False)
        elif self.pipeline and self.seekable:
            self.index, self.playing = max(self.index + frames, 0), False
            self.pipeline.step(frames)

    def seek(self, index: int) -> None:
        if self._next:
            self._run_from(index, self.playing)
        elif self.pipeline and self.seekable:
            self.index = max(index, 0)
            self.pipeline.seek(index)

    def record(self, recording: Recording | None) -> None:
        if self.pipeline:
            self.pipeline.record(recording)

    def close(self) -> None:
        """Let all of it end; it is not waited for."""
        self._next = None
        if self.reader:
            self.reader.close()
        if self.pipeline:
            self.pipeline.stop()

    def wait(self, milliseconds: int) -> bool:
        """Whether the pipeline has ended, after so long at most."""
        return self.pipeline is None or self.pipeline.wait(milliseconds)

    def _run(self) -> None:
        """Let a new pipeline follow the one that runs."""
        assert self.reader is not None
        self._next = Pipeline(self.reader, self._settings, self.playing)
        if self.pipeline:
            self.pipeline.stop()
        else:
            self._start_next()

    def _run_from(self, index: int, playing: bool) -> None:
        """Let the pipeline that is to follow begin there; the one that ends obeys no more."""
        if self.seekable:
            self.index, self.playing = max(index, 0), playing
            self._run()

    def _start_next(self) -> None:
        before, self.pipeline, self._next = self.pipeline, self._next, None
        if pipeline := self.pipeline:
            if before and before.reader is self.reader and self.seekable:  # another model: this frame once more
                pipeline.reader.seek(self.index)
            pipeline.ready.connect(partial(self._on_ready, pipeline))
            pipeline.failed.connect(partial(self._on_failed, pipeline))
            pipeline.finished.connect(partial(self._on_finished, pipeline))
            pipeline.start()

    def _on_ready(self, pipeline: Pipeline) -> None:
        news = pipeline.take()
        if news.finished:
            self.kept.emit(news.finished)
        if pipeline is not self.pipeline or self._next:
            return
        if news.samples:
            self.working, self.index = pipeline.settings, news.samples[-1].index
        self.playing = news.playing
        self.news.emit(news)

    def _on_failed(self, pipeline: Pipeline, error: TrackerError) -> None:
        if pipeline is self.pipeline and not self._next:
            self.failed.emit(error)

    def _on_finished(self, pipeline: Pipeline) -> None:
        if finished := pipeline.take().finished:
            self.kept.emit(finished)
        for signal in (pipeline.ready, pipeline.failed, pipeline.finished):
            signal.disconnect()  # they hold the pipeline, and it them
        if pipeline is self.pipeline:
            self._start_next()
