"""Image files -> uint8 arrays [H, W, C], through Pillow."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from nnjax.data import kept
from nnjax.data.source import Arrays, Rows, Source
from nnjax.errors import UserError, unknown

SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.gif', '.tif', '.tiff', '.webp')

TURNING = ('JPEG', 'MPO', 'TIFF', 'WEBP')  # formats of cameras, whose EXIF may say "turn me"

Shape = tuple[int, int, int]  # height, width, channels


def below(folder: Path) -> list[Path]:
    """Every image file in a folder and its subfolders, in order.

    Raises:
      UserError: there is none.
    """
    found = sorted(p for p in folder.rglob('*') if p.suffix.lower() in SUFFIXES and p.is_file())
    if not found:
        raise UserError(f'{folder} has no images ({", ".join(SUFFIXES)})')
    return found


def shape(path: Path) -> Shape:
    """An image's (height, width, channels) from its header; 1 channel is grey, 3 are colours."""
    with _opened(path) as image:
        width, height = image.size
        if image.format in TURNING and image.getexif().get(0x0112, 1) >= 5:  # a quarter
            width, height = height, width
        return height, width, 1 if image.mode[0] in '1LIF' and image.mode != 'LAB' else 3


def read(path: Path, wanted: Shape) -> np.ndarray:
    """An image file -> uint8 `wanted`: turned as its EXIF says, made grey or colour, resized.

    Transparency is dropped; 16 bits keep their upper 8; resizing is bilinear with antialiasing.

    Raises:
      UserError: what is no image, naming the file.
    """
    from PIL import Image, ImageOps

    height, width, channels = wanted
    with _opened(path) as image:
        try:
            drawn = ImageOps.exif_transpose(image) if image.format in TURNING else image
            if drawn.mode.startswith('I;16'):
                drawn = Image.fromarray((np.asarray(drawn) >> 8).astype(np.uint8))
            drawn = drawn.convert('L' if channels == 1 else 'RGB')
        except (OSError, SyntaxError, ValueError) as error:
            raise UserError(f'{path} is damaged: {error}') from None
    if drawn.size != (width, height):
        drawn = drawn.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(drawn).reshape(wanted)


def _opened(path: Path):
    from PIL import Image

    try:
        return Image.open(path)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise UserError(f'{path} is no image that can be read') from None


def class_folder(
    root: Path,
    labels: tuple[str, ...] | None = None,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
) -> tuple[Source, tuple[str, ...]]:
    """ROOT/CLASS/*.png -> (source of 'image' and 'label', class names in order).

    Small folders are decoded once and kept under the cache folder; of large ones, batches are
    decoded as they are asked for.

    Args:
      root: the folder.
      labels: the classes there may be; default is one a subfolder, in alphabetical order.
      size: (height, width) to resize to; default is the images' own, if they all have one.
      channels: 1 or 3; default is 3 if any image has colours.

    Raises:
      UserError: no such folder, no classes, a class without images, differing sizes, no image.
    """
    paths, numbers, names = _listing(root, labels)
    stats = [
        (str(p.relative_to(root)), s.st_size, s.st_mtime_ns) for p in paths for s in [p.stat()]
    ]
    key = hashlib.sha256(repr((stats, names, size, channels)).encode()).hexdigest()[:16]

    def make() -> Arrays:
        images = Images(paths, numbers, _common(paths, size, channels), key)
        small = len(images) * int(np.prod(images.spec['image'][0])) <= kept.KEPT_BYTES
        return images[np.arange(len(images))] if small else {}

    arrays = kept.arrays(f'folder-{key}', make)
    if arrays:
        return Rows(arrays), names
    return Images(paths, numbers, _common(paths, size, channels), key), names


class Images:
    """Labelled image files, decoded as they are asked for."""

    def __init__(self, paths: list[Path], numbers: np.ndarray, wanted: Shape, fingerprint: str):
        self._paths, self._numbers, self._wanted = paths, numbers, wanted
        self.fingerprint = fingerprint
        self.spec = {'image': (wanted, np.dtype(np.uint8)), 'label': ((), np.dtype(np.int32))}

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, indices: np.ndarray) -> Arrays:
        with ThreadPoolExecutor() as pool:  # Pillow decodes without the interpreter's lock
            images = list(pool.map(lambda i: read(self._paths[i], self._wanted), indices))
        return {'image': np.stack(images), 'label': self._numbers[indices]}


def _listing(root: Path, labels) -> tuple[list[Path], np.ndarray, tuple[str, ...]]:
    """(paths, class numbers, class names) of a folder with a subfolder a class."""
    if not root.is_dir():
        raise UserError(f'no folder {root}')
    classes = sorted(p.name for p in root.iterdir() if p.is_dir() and p.name[0] != '.')
    if not classes:
        raise UserError(f'{root} has no folders; images belong in one folder a class')
    names = labels or tuple(classes)
    paths, numbers = [], []
    for name in classes:
        if name not in names:
            raise unknown(f'class in {root}', name, names)
        found = below(root / name)
        paths += found
        numbers += [names.index(name)] * len(found)
    return paths, np.array(numbers, np.int32), names


def _common(paths: list[Path], size, channels: int | None) -> Shape:
    """The one shape that all images are read to."""
    shapes = [shape(path) for path in paths]
    for path, found in zip(paths, shapes):
        if size is None and found[:2] != shapes[0][:2]:
            raise UserError(
                f'{path} is {found[0]}x{found[1]}, {paths[0]} is {shapes[0][0]}x{shapes[0][1]}; '
                'set data.height and data.width to resize'
            )
    height, width = size or shapes[0][:2]
    return height, width, channels or max(found[2] for found in shapes)
