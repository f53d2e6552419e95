"""Others' figures as their papers or later tables print them, each with its normaliser: never compared across them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """NME in per cent of ``method`` by the parts of a set that ``table`` names; ``source`` says who printed it."""

    method: str
    values: tuple[float | None, ...]
    source: str


@dataclass(frozen=True)
class Table:
    """Rows of one set with one normaliser, whose values are those of ``parts`` in their order; ``note`` what is not
    certain about them; ``perhaps`` a normaliser that they may have in place of the stated one."""

    parts: tuple[str, ...]
    normaliser: str
    rows: tuple[Published, ...]
    note: str = ""
    perhaps: str = ""

    def of(self, part: str) -> list[tuple[str, float, str]]:
        """Method, value and source of the rows that have this part, worst first."""
        place = self.parts.index(part)
        found = [(row.method, value, row.source) for row in self.rows if (value := row.values[place]) is not None]
        return sorted(found, key=lambda row: -row[1])


def _rows(source: str, text: str) -> tuple[Published, ...]:
    """Lines of a method and its values, ``-`` for none."""
    rows = []
    for line in text.strip().split("\n"):
        method, *values = line.rsplit(maxsplit=len(line.split("|")[1].split()))
        rows.append(
            Published(method.rstrip(" |"), tuple(None if value == "-" else float(value) for value in values), source)
        )
    return tuple(rows)


AAN = "Yue et al., BMVC 2018 (AAN)"
TRNET = "Lai et al. (TRNet)"
LATER = "the method's own paper or later tables"

TABLES: dict[str, tuple[Table, ...]] = {
    "300vw": (
        Table(
            ("category 1", "category 2", "category 3"),
            "inter_ocular",
            _rows(
                f"{AAN}, table 4",
                """
SDM | 7.41 6.18 13.04
TSCN | 12.54 7.25 13.13
CFSS | 7.68 6.42 13.67
TCDCN | 7.66 6.77 14.98
TSTN | 5.36 4.51 12.84
AAN | 5.03 4.82 7.98
""",
            )
            + _rows(
                f"{AAN}, table 5",
                """
AAN without attention | - - 9.38
AAN without the embedding | - - 8.15
AAN without both | - - 9.60
""",
            ),
            "the paper says inter-ocular, but its 300-W figures are on the inter-pupil scale, so that these may be too",
            "inter_pupil",
        ),
    ),
    "300w": (
        Table(
            ("common", "challenging", "full"),
            "inter_pupil",
            _rows(
                f"{AAN}, table 2",
                """
RCPR | 6.18 17.26 8.35
SDM | 5.57 15.40 7.52
ESR | 5.28 17.00 7.58
GN-DPM | 5.78 - -
ERT | - - 6.40
CFAN | 5.50 16.78 7.69
LBF | 4.95 11.98 6.32
CFSS | 4.73 9.98 5.76
MDM | 4.83 10.14 5.88
AAN | 4.38 9.44 5.39
""",
            )
            + _rows(
                f"{TRNET}, table 5",
                """
MCNet | - 8.87 -
LDFFA | 4.10 9.99 5.26
CVAE | 4.96 8.87 5.22
DSRN | 4.12 9.68 5.21
RF-CHN | 4.18 7.39 4.81
TRNet-20 + ENME + RM | 3.86 7.81 4.63
""",
            )
            + _rows(
                LATER,
                """
TSR | 4.36 7.56 4.99
RAR | 4.12 8.35 4.94
LAB | 4.20 7.41 4.92
DVLN | 3.94 7.62 4.66
DCFE | 3.83 7.54 4.55
AWing | 3.77 6.52 4.31
SA | 3.45 6.38 4.02
Wing | 3.27 7.18 4.04
""",
            ),
        ),
        Table(
            ("common", "challenging", "full"),
            "inter_ocular",
            _rows(
                LATER,
                """
SAN | 3.34 6.60 3.98
LAB | 2.98 5.19 3.49
HRNet | 2.87 5.15 3.32
AWing | 2.72 4.52 3.07
ADNet | 2.53 4.58 2.93
SPIGA | 2.59 4.66 2.99
STAR | 2.52 4.32 2.87
ORFormer | 2.53 4.43 2.90
EfficientFAN | 2.98 - -
PicasoNet | 3.03 - -
Lite-HRNet | 3.97 - -
""",
            ),
        ),
    ),
    "aflw": (
        Table(
            ("full",),
            "box_width",
            _rows(
                f"{AAN}, tables 1 and 5",
                """
CDM | 5.43
POCR | 5.32
ERT | 4.35
LBF | 4.25
SDM | 4.05
CFSS | 3.92
RCPR | 3.73
CCL | 2.72
CSR | 2.27
AAN | 1.73
AAN without attention | 2.06
AAN without the embedding | 1.78
AAN without both | 2.10
""",
            )
            + _rows(
                f"{TRNET}, tables 2 and 4",
                """
DSRN | 1.86
SAN | 1.85
FEC | 1.70
Wing | 1.65
CNN-6 + L2 | 2.41
CNN-6 + L1 | 2.00
CNN-6 + NME | 1.88
CNN-6 + Wing | 1.88
CNN-6 + LE | 1.87
CNN-6 + ENME | 1.83
TRNet-20 + ENME | 1.60
TRNet-20 + ENME + RM | 1.57
""",
            ),
        ),
    ),
    "cofw": (
        Table(
            ("full",),
            "inter_pupil",
            _rows(
                f"{TRNET}, tables 2 and 3",
                """
ESR | 11.2
TCDCN | 8.05
MCNet | 6.08
DU-Net | 5.55
CNN-6 + L2 | 7.03
CNN-6 + L1 | 6.70
CNN-6 + NME | 6.60
CNN-6 + Wing | 6.59
CNN-6 + LE | 6.59
CNN-6 + ENME | 6.49
TRNet-20 + ENME | 5.48
TRNet-20 + ENME + RM | 5.39
""",
            )
            + _rows(
                LATER,
                """
STAR | 4.62
ORFormer | 4.46
""",
            ),
            "TRNet's text disagrees on the normaliser; its rows are on the inter-pupil scale",
        ),
    ),
    "celeba": (
        Table(
            ("full",),
            "inter_pupil",
            _rows(
                f"{AAN}, table 3",
                """
SDM | 4.35
RCPR | 4.12
CFSS | 3.95
AAN | 2.99
""",
            ),
            "of five points both distances are one; the paper's counts do not add up, so that the set's list is used",
        ),
    ),
    "wflw": (
        Table(
            ("full",),
            "inter_ocular",
            _rows(
                LATER,
                """
LAB | 5.27
HRNet | 4.60
AWing | 4.36
STAR | 4.02
ORFormer | 3.86
""",
            ),
        ),
    ),
}
"""By the key of the set."""


def published(key: str, part: str) -> list[tuple[Table, list[tuple[str, float, str]]]]:
    """The tables of a set that have this part, with their rows."""
    return [(table, table.of(part)) for table in TABLES.get(key, ()) if part in table.parts]
