"""A contact sheet: a batch of images and their captions as one PNG."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nnjax.report import pictures

MARGIN, CAPTION = 8, 18  # pixels around each picture, and of the line of text below it
CELL = 112  # the width that a picture is enlarged to, about


def write(
    path: str | Path,
    images: np.ndarray,
    captions: Sequence[str],
    columns: int = 8,
    scale: int | None = None,
) -> Path:
    """images [N, H, W, C] (uint8 or float), N captions -> `path`, a PNG of `columns` a row.

    Args:
      path: the file written.
      images: uint8, or floats; see `pictures.pixels` for how these become grey values.
      captions: a line under each picture, cut where it is wider than that.
      columns: pictures a row.
      scale: pixels a side for each of a picture's; None enlarges small pictures.
    """
    from PIL import Image, ImageDraw, ImageFont

    shown = pictures.pixels(images)
    if len(shown) != len(captions):
        raise ValueError(f'{len(shown)} images, but {len(captions)} captions')
    count, high, wide = shown.shape[:3]
    scale = scale or max(1, round(CELL / max(wide, 1)))
    columns = max(1, min(columns, count))
    across, down = wide * scale + MARGIN, high * scale + MARGIN + CAPTION
    size = (columns * across + MARGIN, -(-count // columns) * down + MARGIN)
    paper = Image.new('RGB', size, 'white')
    draw, font = ImageDraw.Draw(paper), ImageFont.load_default(12)
    for index, (image, caption) in enumerate(zip(shown, captions, strict=True)):
        x = MARGIN + index % columns * across
        y = MARGIN + index // columns * down
        drawn = pictures.picture(image).resize((wide * scale, high * scale), Image.NEAREST)
        paper.paste(drawn, (x, y))
        text = _fitting(str(caption), lambda text: font.getlength(text) <= wide * scale)
        draw.text((x, y + high * scale + 2), text, fill='black', font=font)
    path = Path(path)
    paper.save(path, 'PNG')
    return path


def _fitting(text: str, fits) -> str:
    """The text, or the longest beginning of it that fits with an ellipsis."""
    if fits(text):
        return text
    cut = len(text)
    while cut and not fits(text[:cut] + '…'):
        cut -= 1
    return text[:cut] + '…' if cut else ''
