"""Generated scenes of real pictures: items of known class put at random places of a canvas."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

SIDE, MOST = 64, 4  # pixels of a canvas, and objects on it at most
TALL = (12, 28)  # pixels that an item is scaled to
SHARED = 0.15  # IoU of two items, at most
TRIES = 20  # places that are tried for an item
NOISE = 12.0  # standard deviation of what is added to every pixel
SPLITS = {'train': 10_000, 'validation': 1_000, 'test': 2_000}  # scenes


def builder(title: str, about: str, classes: Sequence[str], parts):
    """Class name, its text, item classes, () -> {split: (items, labels)} -> a TFDS builder class.

    Items are uint8 [N, H, W], bright on black. A split's scenes hold that split's items alone, so
    that nothing in a test scene was ever seen in training.
    """
    import tensorflow_datasets as tfds

    class Scenes(tfds.core.GeneratorBasedBuilder):
        __doc__ = about
        name = title
        VERSION = tfds.core.Version('1.0.0')

        def _info(self):
            box = tfds.features.Tensor(shape=(MOST, 4), dtype=np.float32, encoding='bytes')
            image = tfds.features.Tensor(shape=(SIDE, SIDE, 1), dtype=np.uint8, encoding='bytes')
            label = tfds.features.Sequence(tfds.features.ClassLabel(names=classes), length=MOST)
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict({'image': image, 'boxes': box, 'label': label}),
            )

        def _split_generators(self, _):
            given: Mapping = parts()
            return {
                split: self._generate_examples(*given[split], number, SPLITS[split])
                for number, split in enumerate(SPLITS)
            }

        def _generate_examples(self, items, labels, number, count) -> Iterator:
            cut = [tight(item) for item in items]
            for n in range(count):
                yield n, scene(np.random.default_rng([number, n]), cut, labels)

    return Scenes


def scene(rng: np.random.Generator, items: Sequence[np.ndarray], labels: np.ndarray) -> dict:
    """Tightly cut items, their classes -> {'image', 'boxes', 'label'} with up to four of them.

    Boxes are (top, left, bottom, right) as shares of the canvas, label -1 where there is none.
    """
    canvas = np.zeros((SIDE, SIDE), np.float32)
    boxes, kinds = np.zeros((MOST, 4), np.float32), np.full(MOST, -1, np.int64)
    placed: list[tuple[int, int, int, int]] = []
    for _ in range(rng.integers(0, MOST + 1)):
        number = rng.integers(len(items))
        item = _scaled(items[number], rng.integers(*TALL, endpoint=True))
        place = _place(rng, item.shape, placed)
        if place is None:
            continue
        top, left, bottom, right = place
        below = canvas[top:bottom, left:right]
        np.maximum(below, item * np.float32(rng.uniform(0.6, 1)), out=below)
        boxes[len(placed)] = np.array(place, np.float32) / SIDE
        kinds[len(placed)] = labels[number]
        placed.append(place)
    canvas += rng.normal(0, NOISE, canvas.shape)
    image = np.clip(np.rint(canvas), 0, 255).astype(np.uint8)[..., None]
    return {'image': image, 'boxes': boxes, 'label': kinds}


def tight(item: np.ndarray) -> np.ndarray:
    """[H, W] -> the part of it within the outermost pixels brighter than a quarter of white."""
    rows, columns = (np.flatnonzero((item > 64).any(axis)) for axis in (1, 0))
    return item[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _scaled(item: np.ndarray, tall: int) -> np.ndarray:
    """[H, W] -> float32 [tall, in proportion], half as wide as the canvas at most."""
    from PIL import Image

    wide = int(np.clip(round(item.shape[1] / item.shape[0] * tall), 4, SIDE // 2))
    drawn = Image.fromarray(item).resize((wide, int(tall)), Image.Resampling.BICUBIC)
    return np.asarray(drawn, np.float32)


def _place(rng, shape: tuple[int, int], placed) -> tuple[int, int, int, int] | None:
    """A place that overlaps the others little, or None where none was found."""
    tall, wide = shape
    for _ in range(TRIES):
        top, left = int(rng.integers(SIDE - tall + 1)), int(rng.integers(SIDE - wide + 1))
        box = top, left, top + tall, left + wide
        if all(_overlap(box, other) <= SHARED for other in placed):
            return box
    return None


def _overlap(a, b) -> float:
    """Intersection over union."""
    shared = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return shared / (areas - shared)
