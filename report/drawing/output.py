"""Figures as image files, and as SVG within a page."""

import io
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO
from xml.etree import ElementTree

from matplotlib.figure import Figure

from spikeport.convert.files import replacing
from spikeport.report.drawing.style import FAMILY, PALETTE, styled

DPI = 150
_LETTER = FAMILY.replace(" ", "") + "-"  # ids of glyphs begin with it
_NO_DATE: Mapping[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def save_picture(draw: Callable[[], Figure], path: str | os.PathLike[str]) -> None:
    """Draw a figure and write it to a .png, .svg or .pdf file; see ``replacing``."""
    with replacing(path) as file:
        write_picture(draw, file, Path(path).suffix.removeprefix("."))


def write_picture(draw: Callable[[], Figure], file: BinaryIO, form: str) -> None:
    """Draw a figure and write it: "png", "svg" or "pdf"; the same figure gives the same bytes."""
    with styled():
        draw().savefig(file, format=form, dpi=DPI, metadata=_NO_DATE[form])


class Page:
    """Draws the figures of one HTML page as SVG to stand in it, in the page's colours.

    Text is drawn as outlines, so that it looks the same with any fonts; each letter is there once
    on a page. Colours of the palette become the page's CSS variables of the same names, by which a
    figure is light or dark.
    """

    def __init__(self) -> None:
        self._figures = 0
        self._letters: set[str] = set()

    def svg(self, draw: Callable[[], Figure], description: str) -> str:
        """A figure as an ``<svg>`` element.

        Args:
            draw: makes the figure.
            description: what is drawn, for those who do not see it.
        """
        file = io.BytesIO()
        write_picture(draw, file, "svg")
        root = ElementTree.fromstring(file.getvalue())
        self._figures += 1
        for element in root.iter():
            self._adapt(element)
        named = {*re.findall(r"#([\w-]+)", ElementTree.tostring(root, encoding="unicode"))}
        for element in root.iter():
            for child in list(element):
                if self._is_superfluous(child):
                    element.remove(child)
                elif child.get("id", "") not in named:
                    child.attrib.pop("id", None)
        root.attrib = {"viewBox": root.get("viewBox", ""), "stroke-linejoin": "round"}
        root.attrib |= {"role": "img", "aria-label": description}
        return ElementTree.tostring(root, encoding="unicode")

    def _adapt(self, element: ElementTree.Element) -> None:
        """Names without namespaces, ids of this figure, colours of the page."""
        element.tag = element.tag.rpartition("}")[2]
        element.text = element.tail = None
        for key, value in list(element.attrib.items()):
            del element.attrib[key]
            key = key.rpartition("}")[2]
            for name, (light, _) in PALETTE.items():
                value = value.replace(light, f"var(--{name})")
            if key == "id":
                value = self._id(value)
            elif key == "d":
                value = _shorter(value)
            value = re.sub(r"(^#|url\(#)([\w-]+)", lambda m: m[1] + self._id(m[2]), value)
            element.set(key, value)

    def _id(self, name: str) -> str:
        return name if name.startswith(_LETTER) else f"f{self._figures}-{name}"

    def _is_superfluous(self, element: ElementTree.Element) -> bool:
        """Whether a letter is on the page already, or a part has nothing to show in a page."""
        name = element.get("id", "")
        known = name.startswith(_LETTER) and name in self._letters
        if name.startswith(_LETTER):
            self._letters.add(name)
        return known or element.tag in ("metadata", "style")


def _shorter(path: str) -> str:
    """The path data of an outline with two decimals, and without needless spaces."""
    rounded = re.sub(
        r"-?\d+\.\d+", lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), path
    )
    return re.sub(r"\s*([A-Za-z])\s*", r"\1", rounded)
