"""The tracker: a face is detected once and then followed by its own landmarks, until they stop making sense."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np

from tracker.core import MUDDLED, Box, Crop, Face, Frame, Image, Points, Result
from tracker.detector import Detection, Detector, expected
from tracker.model import LandmarkModel
from tracker.smoothing import OneEuro

LOOK_EVERY = 0.3
"""Seconds between looks at the whole frame for further faces while some are followed; without any, every frame."""
LOOK_AGAIN = 0.1
"""The same as long as a lost face may get its id back."""
CHECK_EVERY = 0.15
"""Seconds between checks by the detector that a followed face is one."""
SURE, SURE_EVERY = 0.9, 0.5
"""Presence from which on there are so many seconds between checks."""
PRESENT, ABSENT = 0.5, 0.1
"""Presence from which on a face needs no second opinion, and below which it is none unless the detector sees it."""
PATIENCE = 2.0
"""Seconds that a face is followed on after the detector last saw it, as long as the network stands by it."""
VIEWS = ((0.06, 0.0, 1.0, 0.0), (-0.03, 0.05, 1.12, 0.12), (0.0, -0.06, 0.92, -0.12))
"""Shifted views of a face: right and down in sides of the crop, its scale, its turn in radians."""
AGREEMENT = 0.024
"""Mean distance of a point in those views from its mean, in sides of the face's box, up to which they agree: chosen
between faces and textures for TRNet-68, which tests/test_tracking.py holds it to."""
MEMORY = 2.0
"""Seconds after a loss within which a face at the same place gets its id back."""
FAR = 0.06
"""Way of a face from one frame to the next, in sides of its crop, from which on it is expected to go on so; as far off
is a crop that a face is not to be located in."""
CHECK_SIZE, CHECK_SIDE = 192, 2.2
"""A check looks at a level square of this many pixels, this many times as wide as the landmarks' crop."""


@dataclass(eq=False)
class _Track:
    """One followed face: ``face`` as last located, before smoothing; ``anchor`` its box when the detector last
    confirmed it; ``pace`` the way of its box's middle in the last frame, in pixels; times in seconds of the
    recording."""

    face: Face
    smooth: Callable[[Points, float, float], Points] | None
    anchor: Box
    checked: float
    confirmed: float
    pace: tuple[float, float] = (0.0, 0.0)

    @property
    def doubtful(self) -> bool:
        """Whether the last check failed, or the points have moved away since it, or the network sees no face."""
        presence = self.face.presence
        missed = presence is not None and presence < PRESENT
        return missed or self.checked != self.confirmed or self.face.box.iou(self.anchor) < 0.6

    def due(self, now: float) -> bool:
        """Whether the detector is to look at it."""
        presence = self.face.presence
        sure = presence is not None and presence >= SURE
        return self.doubtful or now - self.checked >= (SURE_EVERY if sure else CHECK_EVERY)

    @property
    def rank(self) -> tuple[float, int]:
        """Which of two tracks on one face is kept: the one confirmed last, then the older."""
        return self.confirmed, -self.face.id


class Tracker:
    """Follows up to ``max_faces`` faces from frame to frame of one recording.

    Ids count from 0 in the order of appearance and are never reused; a face that is lost and found again at the
    same place within two seconds keeps its id. ``smoother`` makes the filter of each new face (by default the One-Euro
    filter), None leaves the points as located.
    """

    def __init__(
        self,
        model: LandmarkModel,
        detector: Detector,
        max_faces: int = 4,
        smoother: Callable[[], Callable[[Points, float, float], Points]] | None = OneEuro,
    ) -> None:
        if max_faces < 1:
            raise ValueError("max_faces must be at least 1")
        self._model, self._detector, self._max_faces, self._smoother = model, detector, max_faces, smoother
        self._tracks: list[_Track] = []
        self._lost: list[tuple[_Track, float]] = []
        self._looked = -math.inf
        self._time = -math.inf
        self._next_id = 0

    def update(self, frame: Frame) -> Result:
        """The faces in the next frame. Frames come in order; a jump back in time starts all tracks anew. A time that
        lies a little before the last, as some files have it, counts as the last."""
        image = frame.image
        if frame.time < self._time - MUDDLED:
            self.restart()
        now = self._time = max(frame.time, self._time)
        clock = _Clock()
        self._follow(image, now)
        clock.lap("landmarks")
        self._check(image, now)
        clock.lap("detect")
        if self._due(now):
            self._looked = now
            detections = self._new(self._detect(image))
            clock.lap("detect")
            self._welcome(image, detections, now)
            clock.lap("landmarks")
        faces = tuple(self._smoothed(track, now) for track in sorted(self._tracks, key=lambda track: track.face.id))
        clock.lap("smooth")
        return Result(frame, faces, clock.milliseconds)

    def start(self, frame: Frame, box: Box) -> Result:
        """Begin with the face whose landmarks fill ``box`` (frame pixels) of the first frame, without asking the
        detector for it: for a box known from elsewhere. The frames after it go to ``update``."""
        image, now = frame.image, frame.time
        clock = _Clock()
        (face,) = self._again(image, self._model.locate(image, [self._model.crop(box)]))
        track = _Track(replace(face, id=self._next_id), self._smoother and self._smoother(), face.box, now, now)
        self._next_id += 1
        self._tracks.append(track)
        self._time = self._looked = now
        clock.lap("landmarks")
        faces = (self._smoothed(track, now),)
        clock.lap("smooth")
        return Result(frame, faces, clock.milliseconds)

    def restart(self) -> None:
        """Forget all faces, as the next frame does not follow the last; their ids are not given again."""
        self._tracks, self._lost = [], []
        self._looked = self._time = -math.inf

    def _follow(self, image: Image, now: float) -> None:
        """Locate every face anew from the crop about its last points, or where it should be by now."""
        crops = [_ahead(self._model.crop_around(track.face.points), track) for track in self._tracks]
        faces = self._model.locate(image, crops)
        moved: Sequence[int] = range(len(faces))
        for _ in range(2):
            moved = [index for index in moved if self._moved(faces[index])]
            for index, face in zip(moved, self._again(image, [faces[index] for index in moved]), strict=True):
                faces[index] = face
        for track, face in zip(list(self._tracks), faces, strict=True):
            score = track.face.score if face.presence is None else face.presence
            unseen = track.checked != track.confirmed
            (x, y), (was_x, was_y) = face.box.centre, track.face.box.centre
            track.pace = x - was_x, y - was_y
            track.face = replace(face, id=track.face.id, score=min(score, 0.5) if unseen else score)
            if not self._sensible(track, image):
                self._lose(track, now)

    def _detect(self, image: Image) -> list[Detection]:
        return [expected(detection, self._model.markup) for detection in self._detector(image)]

    def _again(self, image: Image, faces: list[Face]) -> list[Face]:
        """The same faces, located from the crop about their own points."""
        return self._model.locate(image, [self._model.crop_around(face.points) for face in faces])

    def _moved(self, face: Face) -> bool:
        """Whether the crop that the points ask for is far from the one they were located in."""
        wanted, used = self._model.crop_around(face.points), face.crop
        shift = math.hypot(wanted.cx - used.cx, wanted.cy - used.cy) / used.side
        return shift > FAR or abs(math.log(wanted.side / used.side)) > 0.12 or abs(wanted.angle - used.angle) > 0.2

    def _sensible(self, track: _Track, image: Image) -> bool:
        """Whether the points can be a face: of a size, most of it in the picture, and not one that another
        track holds better."""
        face, box = track.face, track.face.box
        height, width = image.shape[:2]
        frame = Box(-0.5, -0.5, width - 0.5, height - 0.5)
        ratio = max(box.width, box.height) * self._model.spec.context / face.crop.side
        better = (other for other in self._tracks if other is not track and other.rank > track.rank)
        return (
            bool(np.isfinite(face.points).all())
            and min(box.width, box.height) >= 8
            and 0.6 < ratio < 1.6
            and box.intersection(frame) > 0.5 * box.area
            and not any(_same_face(box, other.face.box) for other in better)
        )

    def _check(self, image: Image, now: float) -> None:
        """Let the detector look closely at faces whose check is due, in doubt, or that moved away since."""
        for track in list(self._tracks):
            if track.due(now):
                seen = self._confirm(track, image, now) or (
                    now - track.confirmed <= PATIENCE and self._stands(track.face, image)
                )
                if not seen or not self._sensible(track, image):
                    self._lose(track, now)

    def _confirm(self, track: _Track, image: Image, now: float) -> bool:
        """Look for the track's face in a level patch around it. Where the detector sees the face elsewhere in the
        patch, the points have slid off it and are located anew from there; a face that another track has is not it."""
        face = track.face
        crop = self._model.crop_around(face.points)
        patch = Crop(crop.cx, crop.cy, crop.side * CHECK_SIDE, CHECK_SIZE, crop.angle)
        box = Box.around(patch.to_input(face.points))
        others = [one.face.points for one in self._tracks if one is not track and not one.doubtful]
        held = [Box.around(patch.to_input(points)) for points in others]
        seen = [d for d in self._detect(patch.cut(image)) if all(d.box.iou(one) <= d.box.iou(box) for one in held)]
        found = max(seen, key=lambda d: d.box.iou(box), default=None)
        overlap = found.box.iou(box) if found else 0.0
        track.checked = now
        if not found or overlap < 0.1:
            track.face = replace(face, score=min(face.score, 0.5))
            return False
        if overlap < 0.5:
            cx, cy = patch.to_frame(np.array(found.box.centre))
            side = found.box.width * patch.side / patch.size * self._model.spec.context
            start = Crop(float(cx), float(cy), side, crop.size, patch.angle + found.angle)
            (face,) = self._again(image, self._model.locate(image, [start]))
        score = found.score if face.presence is None else face.presence
        track.face = replace(face, id=track.face.id, score=score)
        track.anchor, track.confirmed = face.box, now
        return True

    def _stands(self, face: Face, image: Image) -> bool:
        """Whether the network stands by a face: by its presence, or where that is low or not given, by its points from
        shifted views."""
        if face.presence is not None and not ABSENT <= face.presence < PRESENT:
            return face.presence >= PRESENT
        return views_agree(self._model, face, image)

    def _due(self, now: float) -> bool:
        """Whether to look at the whole frame."""
        if not self._tracks:
            return True
        every = LOOK_AGAIN if self._recently_lost(now) else LOOK_EVERY
        return len(self._tracks) < self._max_faces and now - self._looked >= every

    def _new(self, detections: list[Detection]) -> list[Detection]:
        """The detections of faces not followed yet, largest first."""
        known = [track.face.box for track in self._tracks if not track.doubtful]
        new = [d for d in detections if not any(_same_face(d.box, box) for box in known)]
        return sorted(new, key=lambda d: -d.box.area)

    def _welcome(self, image: Image, detections: list[Detection], now: float) -> None:
        """Start a track for every detection that stands a second look and that the network stands by, as long as there
        is room: what is no face takes none."""
        for detection in detections:
            if len(self._tracks) >= self._max_faces:
                return
            crop = self._model.crop(detection.box, detection.angle)
            (face,) = self._again(image, self._model.locate(image, [crop]))
            track = _Track(replace(face, id=self._next_id), self._smoother and self._smoother(), face.box, now, now)
            if not (self._sensible(track, image) and self._confirm(track, image, now)):
                continue
            if not self._stands(track.face, image):
                continue
            rivals = [other for other in self._tracks if _same_face(track.face.box, other.face.box)]
            if not all(rival.doubtful for rival in rivals):
                continue
            for rival in rivals:  # this is where the face of a track in doubt really is
                self._lose(rival, now)
            if known := self._remembered(track, now):
                track.face = replace(track.face, id=known.face.id)
            else:
                self._next_id += 1
            self._tracks.append(track)

    def _lose(self, track: _Track, now: float) -> None:
        self._tracks.remove(track)
        self._lost.append((track, now))

    def _recently_lost(self, now: float) -> list[tuple[_Track, float]]:
        """The tracks that may be found again; those lost before are forgotten."""
        self._lost = [(lost, since) for lost, since in self._lost if now - since <= MEMORY]
        return self._lost

    def _remembered(self, track: _Track, now: float) -> _Track | None:
        """The lost track that this one continues: of those that may be back here the nearest, then the last lost."""
        box, near = track.face.box, []
        for index, (lost, since) in enumerate(self._recently_lost(now)):
            places = [place for place in (lost.anchor, lost.face.box) if _may_be_back(place, box)]
            near += [(math.dist(place.centre, box.centre), -since, index) for place in places]
        return self._lost.pop(min(near)[2])[0] if near else None

    def _smoothed(self, track: _Track, now: float) -> Face:
        face = track.face
        if track.smooth is None:
            return face
        left, right = self._model.markup.eye_centres(face.points)
        points = track.smooth(face.points, float(np.hypot(*(right - left))), now)
        return replace(face, points=points, box=Box.around(points))


def views_agree(model: LandmarkModel, face: Face, image: Image) -> bool:
    """Whether the network finds the same points of ``face`` from shifted views of ``image``, as it does on a face that
    the detector cannot see, half hidden or turned away; where there is none, its points follow the crop."""
    crop = model.crop_around(face.points)
    points = np.stack([view.points for view in model.locate(image, [crop.moved(*view) for view in VIEWS])])
    spread = np.linalg.norm(points - points.mean(0), axis=-1).mean()
    return bool(spread < AGREEMENT * max(face.box.width, face.box.height))


def _ahead(crop: Crop, track: _Track) -> Crop:
    """Where a face that was last in ``crop`` should be one frame later; a slow one stays."""
    dx, dy = track.pace
    return replace(crop, cx=crop.cx + dx, cy=crop.cy + dy) if math.hypot(dx, dy) > FAR * crop.side else crop


def _same_face(one: Box, other: Box) -> bool:
    """Whether two boxes cannot be two people: half of the smaller lies in the larger."""
    return one.intersection(other) > 0.5 * min(one.area, other.area)


def _may_be_back(lost: Box, found: Box) -> bool:
    """Whether a face that was lost at one place may be the one found at another: within its own size, and of that size
    up to a factor of two."""
    before, after = (max(box.width, box.height) for box in (lost, found))
    return math.dist(lost.centre, found.centre) < max(before, after) and 0.5 < after / max(before, 1e-9) < 2


class _Clock:
    """Milliseconds by stage."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}
        self._since = perf_counter()

    def lap(self, stage: str) -> None:
        now = perf_counter()
        self.milliseconds[stage] = self.milliseconds.get(stage, 0.0) + (now - self._since) * 1000
        self._since = now
