"""Figures as the tests look at them: by name, and as pixels."""

import io

import numpy as np
from PIL import Image


def by_name(figures):
    """Figures of one attribute, from (attribute/name, figure) pairs."""
    return {name.rpartition("/")[2]: figure for name, figure in figures}


def png(figure):
    """The figure as grey pixels, (height, width)."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=60)
    return np.asarray(Image.open(content).convert("L"))
