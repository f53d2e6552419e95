"""The overlay on a picture: points, edges, boxes, numbers and attention of the faces found in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from tracker.core import Crop, Face, Image, Result
from tracker.markup import Markup

COLOURS = (
    (86, 180, 233),
    (240, 228, 66),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (0, 114, 178),
    (213, 94, 0),
)
"""RGB, one for each face by its id: the palette of Okabe and Ito, which colour-blind people can tell apart, with those
first that differ most from skin."""

VEIL = 8
"""Pixels on the longer side of a picture that is blurred so that nobody can be recognised, not even one whose face
fills it: people can tell a known face from 16."""

Heat = npt.NDArray[np.float32]

_GROUND = 40
_DARK = (24, 24, 24)
_SHIFT = 4  # cv2 draws at sixteenths of a pixel; its whole numbers are pixel centres, like ours
_FAR = 20000.0  # pixels; nothing is drawn farther out, where cv2's numbers would overflow


def draw_result(
    result: Result,
    markup: Markup,
    *,
    points: bool = True,
    edges: bool = True,
    ids: bool = True,
    boxes: bool = False,
    attention: bool = False,
    opacity: float = 0.5,
    background: str = "picture",
) -> Image:
    """A writable copy of the frame, (H, W, 3) uint8 RGB, with the overlay of its faces; the frame is not changed.

    ``points`` draws dots with a dark rim, ``edges`` the lines of ``markup`` between them, ``ids`` the number of each
    face above its box, ``boxes`` the boxes, ``attention`` the mean of the attention maps over the crop that the
    network saw, from its lowest value (dark blue) to its highest (yellow), with ``opacity`` from 0 to 1. ``background``
    is the ``picture``, or one in which nobody can be recognised: ``blank`` grey, or ``blur``, the picture in VEIL
    pixels on its longer side, stretched. Sizes follow the face, down to one pixel. A face whose points are not those
    of the markup is drawn without edges.
    """
    image = _ground(result.frame.image, background)
    if attention:
        for face in result.faces:
            if face.attention:
                _draw_attention(image, face.attention, face.crop, opacity)
    for face in result.faces:
        _draw_face(image, face, markup, points, edges, ids, boxes)
    return image


def _ground(image: Image, background: str) -> Any:
    """A writable picture of the size of ``image`` to draw on."""
    height, width = image.shape[:2]
    if background == "blank":
        return np.full((height, width, 3), _GROUND, np.uint8)
    if background == "blur":
        scale = VEIL / max(height, width)
        few = cv2.resize(
            image, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA
        )
        return cv2.resize(few, (width, height), interpolation=cv2.INTER_LINEAR)
    return image.copy()


def attention_sheet(faces: Sequence[tuple[Image, tuple[Heat, ...]]], side: int = 128) -> Image:
    """What AAN looks at, as figure 4 of its paper shows it: (H, W, 3) RGB with a column for each face, its picture as
    the network saw it (S, S, 3) above its attention maps (h, w) from the first layer to the last, each from its lowest
    value (dark blue) to its highest (yellow).

    Yue et al., "Attentional Alignment Network", BMVC 2018, figure 4.
    """
    labels = ["face", *(f"{one.shape[1]} x {one.shape[0]}" for one in faces[0][1])]
    gap, margin = 6, 84
    sheet: Any = np.full((len(labels) * (side + gap) + gap, margin + len(faces) * (side + gap) + gap, 3), 255, np.uint8)
    for row, text in enumerate(labels):
        at = (8, gap + row * (side + gap) + side // 2 + 4)
        cv2.putText(sheet, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.45, _DARK, 1, cv2.LINE_AA)
    for column, (seen, maps) in enumerate(faces):
        x = margin + gap + column * (side + gap)
        rows: list[npt.NDArray[Any]] = [seen, *maps]
        for row, picture in enumerate(rows):
            y = gap + row * (side + gap)
            large = cv2.resize(picture, (side, side), interpolation=cv2.INTER_LINEAR)
            sheet[y : y + side, x : x + side] = _heat(large) if row else large
    return sheet


def _draw_face(image: Any, face: Face, markup: Markup, points: bool, edges: bool, ids: bool, boxes: bool) -> None:
    colour = COLOURS[face.id % len(COLOURS)]
    size = max(face.box.width, face.box.height)
    line = max(1, round(size / 250))
    places = _fixed(face.points)
    if edges and len(places) == markup.size:
        cv2.polylines(image, list(places[np.array(markup.edges)]), False, colour, line, cv2.LINE_AA, _SHIFT)
    if points:
        radius = max(1.0, size / 150)
        rim = max(0.6, radius / 3)
        for x, y in places.tolist():
            cv2.circle(image, (x, y), round((radius + rim) * (1 << _SHIFT)), _DARK, cv2.FILLED, cv2.LINE_AA, _SHIFT)
            cv2.circle(image, (x, y), round(radius * (1 << _SHIFT)), colour, cv2.FILLED, cv2.LINE_AA, _SHIFT)
    box = face.box
    if boxes:
        corners = [(box.x0, box.y0), (box.x1, box.y0), (box.x1, box.y1), (box.x0, box.y1)]
        cv2.polylines(image, [_fixed(np.array(corners))], True, colour, line, cv2.LINE_AA, _SHIFT)
    if ids:
        _draw_label(image, str(face.id), box.x0, box.y0 - 2 * line, size, colour)


def _draw_label(image: Any, text: str, x: float, y: float, size: float, colour: tuple[int, int, int]) -> None:
    """Text whose lower left corner is at (x, y), moved so that all of it is in the picture."""
    scale = max(0.4, size / 350)
    thick = max(1, round(2 * scale))
    (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)
    left = int(np.clip(x, thick, max(thick, image.shape[1] - width - thick)))
    bottom = int(np.clip(y, height + thick, max(height + thick, image.shape[0] - below)))
    for shade, width in ((_DARK, 3 * thick), (colour, thick)):
        cv2.putText(image, text, (left, bottom), cv2.FONT_HERSHEY_SIMPLEX, scale, shade, width, cv2.LINE_AA)


def _draw_attention(image: Any, maps: tuple[Heat, ...], crop: Crop, opacity: float) -> None:
    """Lay the mean of the maps, each stretched over the whole crop, onto that part of the picture."""
    size = (crop.size, crop.size)
    mean = np.mean([cv2.resize(one, size, interpolation=cv2.INTER_LINEAR) for one in maps], axis=0)
    heat = _heat(mean)

    edge = crop.size - 0.5
    corners = crop.to_frame(np.array([(-0.5, -0.5), (edge, -0.5), (edge, edge), (-0.5, edge)]))
    end = (image.shape[1], image.shape[0])
    x0, y0 = np.clip(np.floor(corners.min(axis=0)), 0, end).astype(int)
    x1, y1 = np.clip(np.ceil(corners.max(axis=0)) + 1, 0, end).astype(int)
    if x0 >= x1 or y0 >= y1:  # the crop lies beside the picture
        return
    part = image[y0:y1, x0:x1]
    matrix = crop.matrix
    matrix[:, 2] += matrix[:, :2] @ (x0, y0)
    laid = cv2.warpAffine(
        heat,
        matrix,
        (part.shape[1], part.shape[0]),
        dst=part.copy(),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_TRANSPARENT,
    )
    cv2.addWeighted(part, 1 - opacity, laid, opacity, 0, dst=part)


def _heat(values: npt.NDArray[Any]) -> Any:
    """Values (h, w) as colours (h, w, 3), from the lowest to the highest."""
    low, high = float(values.min()), float(values.max())
    grey = ((values - low) * (255 / max(high - low, 1e-9))).astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(grey, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB)


def _fixed(points: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.int32]:
    """Points (..., 2) in cv2's fixed-point numbers."""
    near = np.clip(np.nan_to_num(points), -_FAR, _FAR)
    fixed: npt.NDArray[np.int32] = np.rint(near * (1 << _SHIFT)).astype(np.int32)
    return fixed
