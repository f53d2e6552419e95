"""The networks, as torch modules. torch lives here and in ``tracker.training`` only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tracker.networks.aan import AAN
from tracker.networks.facedet import FaceDet
from tracker.networks.trnet import CNN6, TRNet20

Network = TRNet20 | AAN | CNN6 | FaceDet

__all__ = ["AAN", "CNN6", "NETWORKS", "FaceDet", "Network", "TRNet20", "build"]

NETWORKS: Mapping[str, type[Network]] = {"trnet20": TRNet20, "aan": AAN, "cnn6": CNN6, "facedet": FaceDet}


def build(network: str, points: int, options: Mapping[str, Any] | None = None) -> Network:
    """The module that a Spec names, for any number of ``points``, with fresh weights. KeyError for an unknown name."""
    return NETWORKS[network](points, **(options or {}))
