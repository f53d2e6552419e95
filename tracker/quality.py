"""How good a recording is for tracking, so that a bad one is seen at once."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from tracker.core import Face, Image, Result
from tracker.markup import Markup
from tracker.metrics import inter_ocular

FOUND, LOSSES, CONFIDENCE, JITTER, SHARPNESS, DARK, BRIGHT = 0.9, 2.0, 0.7, 0.03, 0.04, 45.0, 225.0
"""What a recording is warned of below (share of frames with a face, mean confidence, sharpness, brightness) or above
(losses a minute, jitter, brightness)."""

EVERY = 5
"""Of how many frames one is looked at for sharpness and brightness."""


class Quality:
    """Counts what the results of one recording say about it, in the order of their frames."""

    def __init__(self, markup: Markup) -> None:
        self.frames = 0
        self.found = 0
        self.ids: set[int] = set()
        self._markup = markup
        self._losses = 0
        self._times: list[float] = []
        self._confidence = [0.0, 0]
        self._jitter = [0.0, 0]
        self._sharpness: list[float] = []
        self._brightness: list[float] = []
        self._before: list[dict[int, Face]] = [{}, {}]  # the faces of the last two frames, the newer first

    def add(self, result: Result) -> None:
        """Take the next result."""
        faces = {face.id: face for face in result.faces}
        self._times = [*self._times[:1], result.frame.time]
        self._losses += len(self._before[0].keys() - faces.keys())
        for number, face in faces.items():
            self._confidence[0] += face.score
            self._confidence[1] += 1
            if number in self._before[0] and number in self._before[1]:
                bend = face.points - 2 * self._before[0][number].points + self._before[1][number].points
                self._jitter[0] += float(np.linalg.norm(bend, axis=-1).mean() / inter_ocular(face.points, self._markup))
                self._jitter[1] += 1
            if self.frames % EVERY == 0:
                sharpness, brightness = look(result.frame.image, face)
                self._sharpness.append(sharpness)
                self._brightness.append(brightness)
        self.frames += 1
        self.found += bool(faces)
        self.ids |= faces.keys()
        self._before = [faces, self._before[0]]

    def summary(self) -> dict[str, Any]:
        """The figures by name, None where there are none, and ``warnings`` in words."""
        share = self.found / self.frames if self.frames else None
        seconds = self._times[-1] - self._times[0] if self._times else 0.0
        confidence, jitter = (
            round(total / count, 5) if count else None for total, count in (self._confidence, self._jitter)
        )
        sharpness, brightness = (
            round(float(np.median(values)), 3) if values else None for values in (self._sharpness, self._brightness)
        )
        worse = [
            (share is not None and share < FOUND, f"a face in only {100 * (share or 0):.0f} % of the frames"),
            (self._losses > LOSSES * max(1.0, seconds / 60), f"faces were lost {self._losses} times"),
            (confidence is not None and confidence < CONFIDENCE, f"the mean confidence is only {confidence}"),
            (jitter is not None and jitter > JITTER, f"the points jitter by {100 * (jitter or 0):.1f} % of the eyes"),
            (sharpness is not None and sharpness < SHARPNESS, f"the faces are blurred (sharpness {sharpness})"),
            (brightness is not None and brightness < DARK, f"the faces are dark (brightness {brightness} of 255)"),
            (brightness is not None and brightness > BRIGHT, f"the faces are too bright ({brightness} of 255)"),
        ]
        return {
            "frames": self.frames,
            "frames_with_a_face": self.found,
            "identities": len(self.ids),
            "losses": self._losses,
            "mean_confidence": confidence,
            "jitter": jitter,
            "sharpness": sharpness,
            "brightness": brightness,
            "warnings": [words for bad, words in worse if bad],
        }


def look(image: Image, face: Face) -> tuple[float, float]:
    """How sharp and how bright a face in ``image`` is: the variance of the Laplacian (Pech-Pacheco et al., "Diatom
    autofocusing in brightfield microscopy", ICPR 2000) over that of the grey values, which takes the contrast out,
    and the mean of the grey values from 0 to 255; in the crop that the network saw, so that faces of all sizes
    compare."""
    grey = cv2.cvtColor(face.crop.cut(image), cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var() / max(float(grey.var()), 1.0)), float(grey.mean())
