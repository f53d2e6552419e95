"""What the window remembers from one start to the next."""

from __future__ import annotations

import hashlib
import math
from base64 import b64decode, b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from PyQt6.QtCore import QSettings

from tracker.files import SinkError, read_json, write_json

RECENT = 8
"""How many files and addresses are remembered."""
LAYOUT = ("geometry", "state")
"""What is kept of the window besides the choices."""
SEAL = 8
"""Bytes of a digest behind each part of the layout."""
FASTEST = math.inf
"""The speed at which a file is played as fast as it goes."""
MEAN, NO_MAP = -2, -1
"""What ``Settings.map`` lays over the face beside the numbers of the maps: their mean, or nothing."""


@dataclass(frozen=True)
class Settings:
    """Every choice of the user, with its default. ``model`` and ``other`` (for the comparison, or empty) are names in
    ``weights/`` or paths; ``cutoff`` (Hz) and ``beta`` are the One-Euro filter's; ``speed`` is a factor; ``map`` the
    attention map over the face, from 0, MEAN or NO_MAP, with ``opacity`` from 0 to 1."""

    model: str = "trnet-68"
    other: str = ""
    overlaid: bool = False
    device: str = "cpu"
    detector: str = "far"
    max_faces: int = 4
    smooth: bool = True
    cutoff: float = 1.5
    beta: float = 16.0
    speed: float = 1.0
    loop: bool = False
    points: bool = True
    edges: bool = True
    ids: bool = True
    boxes: bool = False
    crop: bool = False
    pose: bool = False
    map: int = NO_MAP
    opacity: float = 0.5
    whole: bool = False
    colours: str = "system"
    record_csv: bool = True
    record_video: bool = True
    folder: str = ""
    recent: tuple[str, ...] = ()

    def with_recent(self, text: str) -> Settings:
        """These settings with ``text`` as the newest of the recent sources."""
        return replace(self, recent=(text, *(other for other in self.recent if other != text))[:RECENT])

    @property
    def out(self) -> Path:
        """The folder for recordings and screenshots."""
        return Path(self.folder) if self.folder else Path.home() / "landmark-tracker"


def place() -> Path:
    """The file the settings are kept in. QSettings only says where: PyQt unpickles what its files hold."""
    scope = QSettings.Scope.UserScope
    name = QSettings(QSettings.Format.IniFormat, scope, "landmark-tracker", "landmark-tracker").fileName()
    return Path(name).with_suffix(".json")


def keep_in(folder: Path) -> None:
    """From now on keep settings below ``folder``, and let the user's be."""
    QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, str(folder))


def load() -> Settings:
    """The settings as last saved; what is missing or makes no sense has its default."""
    kept, known = _kept(), {}
    for field in fields(Settings):
        value = _parsed(kept.get(field.name), field.default)
        if value is not None:
            known[field.name] = value
    return _sensible(Settings(**known))


def save(settings: Settings, layout: Mapping[str, bytes] | None = None) -> None:
    """Keep the settings and the window's ``layout``, by default the one that is kept already. A disc that is full or
    may not be written is no reason to complain."""
    if layout is None:
        layout = load_layout()
    kept: dict[str, Any] = {name: b64encode(value + _seal(value)).decode() for name, value in layout.items()}
    for field in fields(Settings):
        value = getattr(settings, field.name)
        kept[field.name] = list(value) if isinstance(value, tuple) else str(value)
    with suppress(SinkError):
        write_json(place(), kept)


def load_layout() -> dict[str, bytes]:
    """The ``geometry`` and ``state`` of the window as last saved, as far as they are there and to the last bit: damaged
    ones make Qt crash."""
    kept, found = _kept(), {}
    for name in LAYOUT:
        with suppress(KeyError, TypeError, ValueError):
            held = b64decode(kept[name], validate=True)
            if _seal(held[:-SEAL]) == held[-SEAL:]:
                found[name] = held[:-SEAL]
    return found


def _seal(value: bytes) -> bytes:
    return hashlib.sha256(value).digest()[:SEAL]


def _kept() -> dict[str, Any]:
    try:
        kept = read_json(place())
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _parsed(text: Any, default: Any) -> Any:
    """What a value of the file says, of the kind of its default, or None."""
    if isinstance(default, tuple):
        return tuple(text) if isinstance(text, list) and all(isinstance(one, str) for one in text) else None
    try:
        if not isinstance(text, str) or len(text) > 4096:
            return None
        return {"True": True, "False": False}[text] if isinstance(default, bool) else type(default)(text)
    except (ValueError, KeyError):
        return None


def _sensible(settings: Settings) -> Settings:
    """Within the ranges that the window offers, whatever was written into the file."""

    def between(value: float, low: float, high: float, default: float) -> float:
        return min(max(value, low), high) if math.isfinite(value) else default

    return replace(
        settings,
        device=settings.device if settings.device in ("cpu", "cuda") else "cpu",
        detector=settings.detector if settings.detector in ("near", "far") else "far",
        colours=settings.colours if settings.colours in ("system", "light", "dark") else "system",
        recent=tuple(text for text in settings.recent if len(text) <= 4096)[:RECENT],
        max_faces=min(max(settings.max_faces, 1), 16),
        cutoff=between(settings.cutoff, 0.1, 10.0, 1.5),
        beta=between(settings.beta, 0.0, 50.0, 16.0),
        speed=settings.speed if settings.speed >= 0.01 else 1.0,
        opacity=between(settings.opacity, 0.0, 1.0, 0.5),
        map=min(max(settings.map, MEAN), 99),
    )
