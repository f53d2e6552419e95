"""What ``python -m tracker bench`` found, as tables, as JSON and as a picture."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tracker.bench import Figures, Timing
from tracker.files import Bytes, write_json

OURS, THEIRS, BOUND = "#0072B2", "#E69F00", "#000000"
"""Colours of Okabe and Ito."""


def write(figures: Figures, folder: Path) -> None:
    """``bench.json``, ``bench.txt`` and, where matplotlib is installed, ``bench.png``."""
    write_json(folder / "bench.json", plain(figures))
    Bytes(folder / "bench.txt", (report(figures) + "\n").encode())
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    bars(figures, Figure(figsize=(7.2, 0.5 + 0.27 * len(_bars(figures))), layout="constrained"), folder / "bench.png")


def _bars(figures: Figures) -> list[tuple[str, Timing, str]]:
    """Label, timing and colour of every bar, from the top."""
    found = [(name, timing, OURS) for name, timing in figures["stages"].items()]
    found += [(f"network {name}", network["faces"]["1"], OURS) for name, network in figures["networks"].items()]
    for name, timing in figures["peers"].items():
        if isinstance(timing, Timing):
            found.append((f"crop to points, {name}", timing, OURS if name in figures["networks"] else THEIRS))
    return found


def bars(figures: Figures, figure: Any, path: Path) -> None:
    """Draw the stages of one frame into a matplotlib ``figure`` and keep it as a PNG: the median, what one call in
    twenty was faster and slower than, and for networks in fp32 what their multiply-adds take at the measured peak."""
    axes = figure.add_subplot()
    shown = _bars(figures)[::-1]
    for place, (_, timing, colour) in enumerate(shown):
        reach = [[timing.median - timing.fast], [timing.slow - timing.median]]
        axes.barh(place, timing.median, color=colour, height=0.7, xerr=reach, ecolor="#777777")
    for place, (name, _, _) in enumerate(shown):
        network = figures["networks"].get(name.removeprefix("network "))
        if network and network["precision"] == "fp32":
            least = network["multiply_adds"] / figures["bound"]["peak"] / 1e6
            axes.plot([least, least], [place - 0.4, place + 0.4], color=BOUND, linewidth=2)
    axes.set_yticks(range(len(shown)), [name for name, _, _ in shown])
    axes.set(xlabel="milliseconds (black: the multiply-adds at the peak of one core)", ylim=(-0.6, len(shown) - 0.4))
    axes.set_title(f"{figures['machine']['processor']}, one thread, {figures['clip']['size']}, one face", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    part = path.with_name(f"{path.stem}.part{path.suffix}")
    figure.savefig(part, dpi=120)
    os.replace(part, path)


def plain(value: Any) -> Any:
    """Figures as JSON has them."""
    if isinstance(value, Timing):
        return {"median": value.median, "fast": value.fast, "slow": value.slow}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def report(figures: Figures) -> str:
    """The figures as tables to be read on a terminal."""
    machine, bound = figures["machine"], figures["bound"]
    lines = [
        f"{machine['processor']}, {machine['cores']} cores {' '.join(machine['instructions'])}",
        f"{figures['clip']['name']}, {figures['clip']['size']}; models on {figures['device']}",
        f"one core: {bound['peak']} billion multiply-adds a second in fp32, {bound['bandwidth']} GB copied a second",
        "",
        f"{'milliseconds':36}{'median':>10}{'5 %':>10}{'95 %':>10}",
    ]
    for name, timing in figures["stages"].items():
        lines.append(_row(name, timing))
    for name, network in figures["networks"].items():
        for count, timing in network["faces"].items():
            lines.append(_row(f"network {name}, {count} face{'s' * (count != '1')}", timing))
    lines += ["", "from crop to points, one face, in one run"]
    for name, timing in figures["peers"].items():
        lines.append(_row(name, timing) if isinstance(timing, Timing) else f"{name:36}{timing}")
    lines += ["", *_against_bound(figures), "", f"{'whole recordings, to CSV':46}{'frames/s':>10}{'of decoding':>14}"]
    alone = figures["chain"]["decoding alone"]
    for name, rate in figures["chain"].items():
        lines.append(f"{name:46}{rate:10.0f}{100 * rate / alone:12.0f} %")
    start = figures["start"]
    lines += ["", f"first result {start['seconds']} s after the start of a process, which takes {start['memory']} MB"]
    lines += ["", *_of_window(figures["live"])]
    return "\n".join(lines)


def _row(name: str, timing: Timing) -> str:
    return f"{name:36}{timing.median:10.2f}{timing.fast:10.2f}{timing.slow:10.2f}"


def _against_bound(figures: Figures) -> list[str]:
    """How far each network in fp32 is from what its multiply-adds take at the measured peak, and what int8 gains."""
    lines, networks = [], figures["networks"]
    for name, network in networks.items():
        spent = network["faces"]["1"].fast
        if network["precision"] == "int8":
            full = networks.get(name.removesuffix("-int8"))
            if full:
                share = network["faces"]["1"].median / full["faces"]["1"].median
                lines.append(f"{name}: {share:.2f} of the time in fp32")
        elif network["multiply_adds"] and figures["device"] == "cpu":
            least = network["multiply_adds"] / figures["bound"]["peak"] / 1e6
            lines.append(
                f"{name}: {network['multiply_adds'] / 1e6:.0f} million multiply-adds, at least {least:.2f} ms at the "
                f"peak; takes {spent / least:.2f} times that"
            )
    return lines


def _of_window(live: dict[str, Any]) -> list[str]:
    if not live:
        return ["the window: not run"]
    if "not run" in live:
        return [f"the window: not run, {live['not run']}"]
    head = f"{'the window, simulated camera':36}" + "".join(
        f"{name:>10}" for name in ("painted/s", "delay", "95 %", "paint")
    )
    head += f"{'% of a core':>14}"
    lines = [head]
    for name, run_ in live.items():
        lines.append(
            f"{name:36}{run_['painted']:10.1f}{run_['delay'][0]:10.1f}{run_['delay'][1]:10.1f}"
            f"{run_['paint']:10.2f}{100 * run_['core']:14.0f}"
        )
    return lines
