"""Images with boxes in COCO's JSON -> a source: every annotation checked, images decoded as asked for."""

import hashlib
import itertools
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nnjax.data import images, kept
from nnjax.data.images import Shape
from nnjax.data.source import Arrays, Rows, Source
from nnjax.errors import UserError

BEYOND = 1.0  # pixels that a box may reach over the edge: annotators round


class Scenes:
    """Image files with boxes and classes, decoded as they are asked for."""

    def __init__(self, files: list[str], wanted: Shape, fields: Arrays):
        self._files, self._wanted, self._fields = files, wanted, fields
        self.spec = {
            'image': (wanted, np.dtype(np.uint8)),
            **{name: (array.shape[1:], array.dtype) for name, array in fields.items()},
        }

    @property
    def fingerprint(self) -> str:
        stats = [(Path(f).stat().st_size, Path(f).stat().st_mtime_ns) for f in self._files]
        check = hashlib.sha256(repr((self._files, stats, self._wanted)).encode())
        check.update(b''.join(array.tobytes() for array in self._fields.values()))
        return check.hexdigest()[:16]

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, indices: np.ndarray) -> Arrays:
        files = [self._files[i] for i in indices]
        return {
            'image': images.decode_all(len(files), self._wanted, lambda n: (files[n], files[n])),
            **{name: array[indices] for name, array in self._fields.items()},
        }


def split(
    root: Path,
    names: tuple[str, ...],
    size: tuple[int, int] | None,
    most: int,
    skip_corrupt: bool = False,
    like: tuple[Source, tuple[str, ...]] | None = None,
) -> tuple[Source, tuple[str, ...]] | None:
    """The first of the splits `names` that the folder has -> (its source, class names).

    A source has 'image' uint8 [H, W, C], 'boxes' float32 [most, 4], (top, left, bottom, right) as
    shares of the picture, and 'label' int32 [most], -1 where there is no object; 'crowd' int32
    [most] is the class of a box that holds a crowd (iscrowd), whose label is -1. Small splits are
    kept decoded under the cache folder.

    Args:
      root: the folder.
      names: of one split.
      size: (height, width) of every image; default is the images' own, if they all have one.
      most: objects in an image, at most.
      skip_corrupt: leave out annotations that cannot be used.
      like: the training split and its classes, which the split must fit; without it the split must
        be there.

    Raises:
      UserError: no annotations, annotations that are damaged or do not fit their images, naming
        the file and the number of the annotation.
    """
    path = _annotations(root, names)
    if path is None:
        if like:
            return None
        raise UserError(
            f'{root} has no annotations {names[0]}.json or annotations/instances_{names[0]}.json'
        )
    found = _read(path)
    classes = {c['id']: c['name'] for c in sorted(found['categories'], key=lambda c: c['id'])}
    labels = tuple(classes.values())
    if like and labels != like[1]:
        raise UserError(f'{path} has the classes {", ".join(labels)}, not {", ".join(like[1])}')
    folder = _folder(root, path, found['images'])
    rows = {image['id']: n for n, image in enumerate(found['images'])}
    files = [str(folder / image['file_name']) for image in found['images']]
    shapes = _shapes(files)
    wanted = _wanted(files, shapes, size, like and like[0].spec['image'][0])
    boxes = np.zeros((len(files), most, 4), np.float32)
    kinds, crowds = (np.full((len(files), most), -1, np.int32) for _ in range(2))
    filled = np.zeros(len(files), int)
    numbers = {kind: n for n, kind in enumerate(classes)}
    check = lambda annotation: _checked(path, annotation, rows, numbers, shapes)
    for kind, row, box, crowd in _usable(path, found['annotations'], check, skip_corrupt):
        if filled[row] == most:
            raise UserError(f'{files[row]} has more than {most} objects: raise --config.data.most')
        boxes[row, filled[row]] = _cut(box, shapes[row], wanted)
        (crowds if crowd else kinds)[row, filled[row]] = kind
        filled[row] += 1
    off = boxes[..., 2] <= boxes[..., 0]  # cut off with the edge
    kinds[off], crowds[off] = -1, -1
    source = Scenes(files, wanted, {'boxes': boxes, 'label': kinds, 'crowd': crowds})
    if len(source) * int(np.prod(wanted)) > kept.KEPT_BYTES:
        return source, labels
    every = np.arange(len(source))
    return Rows(kept.arrays(f'coco-{source.fingerprint}', lambda: source[every])), labels


def _annotations(root: Path, names: tuple[str, ...]) -> Path | None:
    """A split's JSON file."""
    for name in names:
        pattern = re.compile(rf'(instances_)?{name}(\d{{4}})?\.json')
        for place in (root, root / 'annotations'):
            if place.is_dir():
                for file in sorted(place.iterdir()):
                    if pattern.fullmatch(file.name):
                        return file
    return None


def _read(path: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        found = json.loads(path.read_text(encoding='utf-8'))
        for image in found['images']:
            image['id'], Path(image['file_name'])
        for kind in found['categories']:
            kind['id'], kind['name']
        for annotation in found['annotations']:
            {annotation['image_id'], annotation['category_id']}, annotation['bbox']
        ids = {name: sorted(one['id'] for one in found[name]) for name in ('images', 'categories')}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} cannot be read as COCO's instances ({type(error).__name__}: {error})"
        ) from None
    if not found['images'] or not found['categories']:
        raise UserError(f'{path} has no images or no categories')
    for name, own in ids.items():
        twice = [a for a, b in itertools.pairwise(own) if a == b]
        if twice:
            raise UserError(f'{path} has the id {twice[0]} twice in its {name}')
    return found


def _folder(root: Path, path: Path, found: list[dict]) -> Path:
    """Where a split's images lie."""
    name = path.stem.removeprefix('instances_')
    places = [root / name, root / 'images' / name, root / 'images', root]
    first = found[0]['file_name']
    for place in places:
        if (place / first).is_file():
            break
    else:
        raise UserError(f'{path}: no file {first} in {", ".join(map(str, places))}')
    for image in found:
        if not (place / image['file_name']).is_file():
            raise UserError(f'{path}: no file {place / image["file_name"]}')
    return place


def _shapes(files: list[str]) -> np.ndarray:
    """int64 [N, 3]: every image's shape by its header."""
    shapes = np.zeros((len(files), 3), np.int64)

    def one(number: int) -> None:
        shapes[number] = images.shape(files[number])

    images.each(len(files), one)
    return shapes


def _wanted(files, shapes, size, like: Shape | None) -> Shape:
    """The one shape that all images are decoded to."""
    other = np.flatnonzero((shapes[:, :2] != shapes[0, :2]).any(1))
    if like:
        return like
    if size is None and other.size:
        (a, b), (c, d) = shapes[0, :2], shapes[other[0], :2]
        raise UserError(
            f'{files[other[0]]} is {c}x{d}, {files[0]} is {a}x{b}; set data.size to scale and cut '
            'all to one size, such as --config.data.size=224'
        )
    height, width = size or shapes[0, :2].tolist()
    return height, width, int(shapes[:, 2].max())


def _usable(
    path: Path, annotations: list[dict], check: Callable, skip_corrupt: bool
) -> list[tuple]:
    """What `check` says of the annotations; says how many it refuses."""
    found, bad = [], []
    for annotation in annotations:
        try:
            found.append(check(annotation))
        except UserError as error:
            if not skip_corrupt:
                raise UserError(
                    f'{error}; correct it, or leave such annotations out: '
                    '--config.data.skip_corrupt=True'
                ) from None
            bad.append(str(annotation.get('id', 'without id')))
    if bad and not found:
        raise UserError(f'none of the {len(bad)} annotations in {path} can be used')
    if bad:
        print(
            f'left out {len(bad)} of {len(bad) + len(found)} annotations in {path} that cannot be '
            f'used: {", ".join(bad[:20])}{" ..." if len(bad) > 20 else ""}',
            file=sys.stderr,
        )
    return found


def _checked(path, annotation, rows, numbers, shapes) -> tuple[int, int, np.ndarray, bool]:
    """An annotation -> (class, image's row, box (top, left, bottom, right) in pixels, if a crowd)."""
    place = f'{path}, annotation {annotation.get("id", "without id")}'
    if annotation['image_id'] not in rows:
        raise UserError(f'{place}: there is no image {annotation["image_id"]}')
    if annotation['category_id'] not in numbers:
        known = ', '.join(map(str, list(numbers)[:10])) + (' ...' if len(numbers) > 10 else '')
        raise UserError(
            f'{place}: there is no category {annotation["category_id"]} (there are: {known})'
        )
    row = rows[annotation['image_id']]
    height, width, _ = shapes[row]
    try:
        left, top, wide, tall = map(float, annotation['bbox'])
    except (TypeError, ValueError):
        raise UserError(
            f'{place}: bbox={annotation["bbox"]}, expected [left, top, width, height]'
        ) from None
    if not (wide > 0 and tall > 0 and np.isfinite([left, top, wide, tall]).all()):
        raise UserError(f'{place}: the box [{left:g}, {top:g}, {wide:g}, {tall:g}] has no area')
    beyond = max(-left, -top, left + wide - width, top + tall - height)
    if beyond > BEYOND:
        raise UserError(
            f'{place}: the box [{left:g}, {top:g}, {wide:g}, {tall:g}] reaches {beyond:g} pixels '
            f'out of its image of {width}x{height}'
        )
    box = np.array([top, left, top + tall, left + wide])
    return numbers[annotation['category_id']], row, box, bool(annotation.get('iscrowd'))


def _cut(box: np.ndarray, shape: np.ndarray, wanted: Shape) -> np.ndarray:
    """A box in pixels -> shares of its image, scaled to cover `wanted` and cut about the centre.

    What lies outside is cut off; a box wholly outside is zeros.
    """
    size, target = shape[:2].astype(float), np.array(wanted[:2], float)
    seen = target / max(target / size)  # the part of the image that is left, in its own pixels
    start = np.tile((size - seen) / 2, 2)
    placed = np.clip((box - start) / np.tile(seen, 2), 0, 1)
    return placed if (placed[2:] > placed[:2]).all() else np.zeros(4)
