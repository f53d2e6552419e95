"""``python -m evaluation.detectors``: face detectors side by side, on the same pictures in one run.

Faces of people that no detector here was trained on are laid over pictures without faces, in frames of 640x480, at a
known size, roll, blur and darkness. Truth are points set by hand: those of the LFW and net pictures (every tenth person
or picture, see ``tracker.labels``) and the validation faces of 300-W. A hit: eye centres, tip of the nose and middle of
the mouth (the four points that every detector gives) lie on average within 0.3 eye distances of the truth, so that no
convention of boxes is favoured. False positives are counted on frames that hold no face at all.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from tracker.annotations import read_five_point_list, read_pts
from tracker.core import Array, Box, Image, TrackerError
from tracker.detector import Detection, Detector, load_detector, roll
from tracker.markup import CELEBA5, IBUG68, Markup

WIDTH, HEIGHT = 640, 480
SIZES = (16, 24, 32, 48, 64, 96, 128, 192, 256, 400)
ROLLS = (0, 15, 30, 45, 60, 75, 90, 120, 150, 180)
BLURS = (0.0, 0.02, 0.04, 0.06, 0.09)
DARKNESS = (1.0, 0.5, 0.25, 0.12, 0.06)
HIT, OVERLAP = 0.3, 0.4
RATES = (0.5, 1.0, 5.0)
"""False positives in 100 frames without a face at which recall is compared."""
NO_FACE = ("chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_right.png", "microaneurysms.png", "logo.png")
"""Pictures in scikit-image's wheel that hold no face of a person and that our detector was not trained on."""


@dataclass(frozen=True, eq=False)
class Portrait:
    """A photo, its points (P, 2) set by hand and the box that its set gives (or the tight one of 68 points)."""

    image: Image
    points: Array
    markup: Markup
    box: Box

    @property
    def four(self) -> Array:
        """(4, 2): what every detector gives, in the photo's pixels."""
        return four(self.markup.five(self.points))


def four(five: Array) -> Array:
    """(4, 2): eye centres, tip of the nose and middle of the mouth, of five points (5, 2)."""
    return np.concatenate([five[:3], five[3:].mean(0, keepdims=True)])
