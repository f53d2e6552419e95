"""What each part of the two papers is worth, by runs of equal length on 300-W: TRNet's table 2 and figure 4 (Lai et
al.), AAN's table 5 (Yue et al.) and its equations 1 and 2."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tracker.training.datasets import LabelledFace
from tracker.training.loop import Run, train
from tracker.training.pictures import plot_alphas
from tracker.training.refine import refine

ALPHAS = (0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True)
class Row:
    """One run: its line in the table, and the folder it is trained in."""

    label: str
    folder: str
    run: Run


def rows(steps: int, seed: int) -> dict[str, list[Row]]:
    """The runs of each table. AAN's, which cost several times as much a step, have half of the steps."""
    plain = Run("cnn6", rate=5e-4, steps=steps, seed=seed)
    losses = {"L2": "l2", "L1": "l1", "NME": "nme", "Wing": "wing", "LE": "le", "ENME": "enme"}
    table2 = [Row(f"CNN-6 + {name}", f"cnn6-{loss}", replace(plain, loss=loss)) for name, loss in losses.items()]
    table2.append(Row("TRNet-20 + ENME", "trnet20", Run(steps=steps, seed=seed)))
    sweep = [
        Row(f"{alpha:g}", "cnn6-le" if alpha == 2 else f"cnn6-le-{alpha:g}", replace(plain, loss="le", alpha=alpha))
        for alpha in ALPHAS
    ]
    switches: dict[str, dict[str, Any]] = {
        "AAN": {},
        "without attention": {"attention": False},
        "without the nonlinear embedding": {"embedding": False},
        "without both": {"attention": False, "embedding": False},
        "F = M * H (equation 2) for (1 + M) * H": {"residual": False},
    }
    table5 = [
        Row(label, "-".join(("aan", *options)), Run("aan", options, steps=steps // 2, seed=seed))
        for label, options in switches.items()
    ]
    return {"table 2": table2, "figure 4": sweep, "table 5": table5}


def ablate(
    faces: Sequence[LabelledFace], validation: Sequence[LabelledFace], out: Path, steps: int, seed: int
) -> list[str]:
    """Train every row on ``faces``, going on where it was stopped, and give the tables as lines of Markdown: NME in per
    cent (oracle box, inter-pupil, one view) on both sets of faces. The runs, ``tables.md`` and ``alpha.png`` lie in a
    folder of ``out`` for this many steps and this seed, so that none is taken for another's."""
    out = out / f"{steps}-steps-seed-{seed}"
    lines = []
    for table, members in rows(steps, seed).items():
        lines += ["", f"| {table} | steps | validation | training |", "|---|---|---|---|"]
        errors = {}
        for row in members:
            folder = out / row.folder
            if not (folder / "final.json").exists():
                train(row.run, [faces], validation, folder)
            final = json.loads((folder / "final.json").read_text())
            errors[row.label] = final["validation"]["nme_pupil"]
            found, learnt = errors[row.label], final["training"]["nme_pupil"]
            lines.append(f"| {row.label} | {row.run.steps} | {found:.2f} | {learnt:.2f} |")
        if table == "table 2":
            lines.append(_refined(out / "trnet20", faces, validation, steps))
        if table == "figure 4":
            plot_alphas([float(label) for label in errors], list(errors.values()), out / "alpha.png")
    (out / "tables.md").write_text("\n".join(lines[1:]) + "\n")
    return lines[1:]


def _refined(folder: Path, faces: Sequence[LabelledFace], validation: Sequence[LabelledFace], steps: int) -> str:
    refined = folder.with_name(f"{folder.name}-refined")
    if not (refined / "final.json").exists():
        refine(folder, refined, faces, validation, steps)
    error = json.loads((refined / "final.json").read_text())["validation"]["nme_pupil"]
    return f"| TRNet-20 + ENME + refined module | and {steps} | {error:.2f} | |"
