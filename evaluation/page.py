"""The report as one page to look at, with everything inside."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from html import escape
from typing import Any

from evaluation.record import Record

SHOWN = 12
"""Worst frames of each mode on the page."""

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 76em; padding: 0 1em; color: #222 }
h1 { font-size: 1.4em } h2 { font-size: 1.1em; margin-top: 2em }
pre { overflow-x: auto; background: #f6f6f6; padding: 1em; font-size: 12.5px; line-height: 1.45 }
img.plot { max-width: 100%; display: block; margin: 1em 0 }
figure { display: inline-block; margin: 0 8px 12px 0; width: 256px; vertical-align: top }
figcaption { font-size: 12px; overflow-wrap: anywhere }
.partial { background: #fff3d6; border-left: 6px solid #E69F00; padding: .5em 1em }
dt { font-weight: 600 } dd { margin: 0 0 .4em 1.5em }
"""


def page(report: Mapping[str, Any], text: str, record: Record, plots: Mapping[str, bytes]) -> str:
    """The page as HTML that needs no other file."""
    measured = report["measured"]
    subject = report["subject"]
    facts = [(f"mode {name}", what) for name, what in measured["modes"].items()]
    facts += [("which face", measured["choice"]), ("missed faces", f"{measured['missing']} (--missing)")]
    facts += [("note", note) for note in measured["notes"]]
    facts += [
        ("model", f"{subject['model']}, SHA-256 {subject.get('sha256', 'none')}"),
        ("detector", f"{subject.get('detector', 'its own')}, SHA-256 {subject.get('detector_sha256') or 'none'}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in report["versions"].items())),
        ("command", report["command"]),
    ]
    body = [f"<h1>{escape(report['heading'])}</h1>"]
    if report["partial"]:
        body.append(f'<p class="partial">PARTIAL: {escape("; ".join(report["partial"]))}</p>')
    body += [
        f'<img class="plot" alt="{name}" src="data:image/png;base64,{_coded(png)}">' for name, png in plots.items()
    ]
    for block in text.split("\n\n"):
        title, rest = block.split("\n", 1)
        body.append(f"<h2>{escape(title)}</h2><pre>{escape(rest)}</pre>")
    for mode, pictures in record.pictures.items():
        body.append(f"<h2>Worst frames, {escape(mode)}: truth white, found orange</h2>")
        for picture in sorted(pictures, key=lambda picture: -picture.error)[:SHOWN]:
            error = "missed" if picture.error == float("inf") else f"{100 * picture.error:.1f} % of the box size"
            place = f"{picture.clip}, frame {picture.number}" if report["clips"] else picture.clip
            caption = escape(f"{place}: {error}")
            source = f"data:image/jpeg;base64,{_coded(picture.jpeg)}"
            body.append(f'<figure><img alt="" src="{source}"><figcaption>{caption}</figcaption></figure>')
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(what)}</dd>" for name, what in facts)
    body.append(f"<h2>What was measured</h2><dl>{listed}</dl>")
    title = escape(f"{report['heading']}")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )


def _coded(content: bytes) -> str:
    return b64encode(content).decode()
