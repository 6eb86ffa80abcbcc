"""The look of figures: colours for light and dark, text that needs no font of the reader's."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

# name: (on a light page, on a dark one). Files are drawn in the light colours; a page replaces each
# of them by a CSS variable of that name. Lines differ by marker too, for those who see no colours.
PALETTE = {
    "paper": ("#ffffff", "#12151a"),
    "panel": ("#f6f7f9", "#1b2027"),
    "ink": ("#16181d", "#e9ecf1"),
    "soft": ("#5a6270", "#a0a9b6"),
    "rule": ("#dfe3e8", "#333b46"),
    "tone0": ("#0065a8", "#5fb4f0"),
    "tone1": ("#c44e00", "#ff9a57"),
    "tone2": ("#00795a", "#45c9a0"),
    "tone3": ("#a9478a", "#e59acb"),
    "tone4": ("#8a6a00", "#e3c04f"),
    "tone5": ("#4a4a9c", "#a9a9f5"),
}
PAPER, INK, SOFT, RULE = (PALETTE[name][0] for name in ("paper", "ink", "soft", "rule"))
TONES = [PALETTE[f"tone{index}"][0] for index in range(6)]
MARKERS = "os^Dvp"

FAMILY = "DejaVu Sans"  # comes with matplotlib
SIZE = 11.0  # of text, points
SMALL = 9.5

_STYLE: Any = {
    "font.family": FAMILY,
    "font.size": SIZE,
    "text.color": SOFT,
    "text.parse_math": False,  # a "$" in a name is one
    "axes.edgecolor": SOFT,
    "axes.labelcolor": SOFT,
    "axes.axisbelow": True,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.titlesize": SIZE,
    "axes.titleweight": "bold",
    "grid.color": RULE,
    "legend.frameon": False,
    "lines.linewidth": 2.0,
    "lines.solid_joinstyle": "round",
    "patch.linewidth": 0.0,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.bottom": False,
    "ytick.left": False,
    "savefig.facecolor": PAPER,
    "svg.fonttype": "path",
    "svg.hashsalt": "spikeport",  # the same figure has the same bytes
    "pdf.fonttype": 42,
}


@contextmanager
def styled() -> Iterator[None]:
    """Draw and write figures within it: whatever the user has set for matplotlib is left aside."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        warnings.filterwarnings("ignore", "Glyph")  # a box stands for a letter that FAMILY lacks
        yield


def blank(width: float, height: float) -> Figure:
    """An empty figure of so many points."""
    return Figure(figsize=(width / 72, height / 72))


def text_width(text: str, size: float = SIZE, bold: bool = False) -> float:
    """Points that a line of text takes."""
    font = FontProperties(family=FAMILY, size=size, weight="bold" if bold else "normal")
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0])


def shortened(text: str, width: float, size: float = SIZE, bold: bool = False) -> str:
    """The text, cut off with an ellipsis where it is wider than so many points."""
    if text_width(text, size, bold) <= width:
        return text
    while text and text_width(text + "…", size, bold) > width:
        text = text[:-1]
    return text.rstrip() + "…"


def wrapped(text: str, width: float, size: float = SIZE) -> list[str]:
    """Lines of words, each at most so many points wide, unless one word is wider."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
