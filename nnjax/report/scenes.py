"""Pictures with boxes drawn on them: what is in them, and what a detector found."""

from collections.abc import Iterable, Sequence

import numpy as np

from nnjax.report import pictures
from nnjax.report.cards import Card, Section
from nnjax.report.folder import Run
from nnjax.report.svg import tag

WIDE = 240  # pixels that a picture is enlarged to, about
SHOWN = 0.3  # score from which a box is drawn
FIRST, MOST = 10, 24  # images drawn of the split's first, and of highest loss
NOTE = 'Blue is what is there, with its class below; orange what was found, its class and score.'

Box = tuple[Sequence[float], str]  # (top, left, bottom, right) as shares of the picture, caption


def drawn(image: np.ndarray, *layers: Iterable[Box], wide: int = WIDE) -> np.ndarray:
    """uint8 [H, W, 1 or 3], boxes with captions -> uint8 [kH, kW, 3], enlarged.

    The first layer is drawn in the page's hue of what is right, the second in the other; of a
    layer the first box lies on top.
    """
    from PIL import Image, ImageDraw, ImageFont

    height, width = image.shape[:2]
    scale = max(1, round(wide / width))
    size = (width * scale, height * scale)
    paper = pictures.picture(image).convert('RGB').resize(size, Image.Resampling.NEAREST)
    draw, font = ImageDraw.Draw(paper), ImageFont.load_default(12)
    for number, (boxes, hue) in enumerate(zip(layers, (pictures.RIGHT, pictures.WRONG))):
        for (top, left, bottom, right), caption in reversed(list(boxes)):
            corners = [left * size[0], top * size[1], right * size[0] - 1, bottom * size[1] - 1]
            draw.rectangle(corners, outline=hue, width=3 - number)
            below = bottom * size[1] + 1 if number == 0 else top * size[1] - 15
            place = left * size[0] + 1, min(max(below, 0), size[1] - 15)
            draw.text(place, caption, fill='white', font=font, stroke_width=2, stroke_fill=hue)
    return np.asarray(paper)


def truth(boxes: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> list[Box]:
    """An example's boxes [N, 4] and classes [N] as they are drawn."""
    real = (labels >= 0) & (boxes[:, 2:] > boxes[:, :2]).all(1)
    return [(boxes[n].tolist(), _name(int(labels[n]), names)) for n in np.flatnonzero(real)]


def objects(found: Iterable[dict]) -> list[Box]:
    """What `nnjax predict` writes of an image, {'class', 'score', 'box'}, as it is drawn."""
    return [(o['box'], f'{o["class"]} {o["score"]:.2f}') for o in found if o['score'] >= SHOWN]


def sections(run: Run) -> list[Section]:
    """Images with their boxes and those found, the first and those of highest loss; or []."""
    arrays = run.predictions
    task = run.config.get('task') or {}
    boxes, labels = (arrays.get(str(task.get(name) or name)) for name in ('boxes', 'label'))
    if 'detected_boxes' not in arrays or boxes is None or labels is None:
        return []
    names, cards = [str(name) for name in arrays.get('labels', ())], []
    for title, images, index in (
        ('The first images', arrays.get('gallery_scenes'), np.arange(FIRST)),
        ('Images of highest loss', arrays.get('mistakes_image'), arrays.get('mistakes_index')),
    ):
        if images is None or index is None:
            continue
        items = []
        for image, row in list(zip(pictures.pixels(images), index.tolist()))[:MOST]:
            real, found = truth(boxes[row], labels[row], names), _found(arrays, row, names)
            said = f'example {arrays["index"][row]}: {len(real)} objects, {len(found)} found'
            uri = pictures.data_uri(drawn(image, real, found), WIDE * 2)
            shown = tag('img', class_='pixels', src=uri, alt=said)
            items.append(tag('li', shown, tag('p', said, class_='dim')))
        body = tag('ol', *items, class_='mistakes scenes')
        cards.append(Card(title, body, note=NOTE, full=True))
    return [Section('boxes', 'Boxes', cards)] if cards else []


def _found(arrays: dict[str, np.ndarray], row: int, names: Sequence[str]) -> list[Box]:
    """The detections of an example as they are drawn."""
    found = zip(*(arrays[f'detected_{name}'][row] for name in ('boxes', 'class', 'score')))
    return [
        (box.tolist(), f'{_name(int(kind), names)} {score:.2f}')
        for box, kind, score in found
        if kind >= 0 and score >= SHOWN
    ]


def _name(kind: int, names: Sequence[str]) -> str:
    return names[kind] if kind < len(names) else str(kind)
