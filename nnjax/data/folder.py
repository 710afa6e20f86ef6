"""A folder of images by class -> a source: checked by headers, decoded a batch at a time."""

import contextlib
import dataclasses
import hashlib
import os
import sys
from pathlib import Path

import numpy as np

from nnjax.data import images, kept
from nnjax.data.images import Shape
from nnjax.data.source import Arrays, Rows, Source
from nnjax.errors import UserError, unknown

MANY = 20_000  # files whose first look takes long enough to say so


def by_class(
    root: Path,
    labels: tuple[str, ...] | None = None,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    skip_corrupt: bool = False,
) -> tuple[Source, tuple[str, ...]]:
    """ROOT/CLASS/*.png -> (source of 'image' and 'label', class names in order).

    Every file's header and last bytes are looked at when it is new or has changed. Small folders
    are decoded once and kept under the cache folder; of large ones, batches are decoded as they are
    asked for.

    Args:
      root: the folder.
      labels: the classes there may be; default is one a subfolder, in alphabetical order.
      size: (height, width) of every image; default is the images' own, if they all have one.
      channels: 1 or 3; default is 3 if any image has colours.
      skip_corrupt: leave out what cannot be decoded; finding it decodes every image once.

    Raises:
      UserError: no such folder, no classes, a class without images, differing sizes, what is no
        image, colours where channels=1.
    """
    listing, names = _listing(root, labels)
    shapes = _shapes(listing)
    if skip_corrupt:
        good = _whole(listing, shapes)
        listing, shapes = listing.only(good), shapes[good]
    else:
        _refuse(listing, shapes)
    wanted = _common(listing, shapes, size, channels)
    source = Images(listing, wanted, listing.digest(names, wanted))
    if len(source) * int(np.prod(wanted)) > kept.KEPT_BYTES:
        return source, names
    every = np.arange(len(source))
    arrays = kept.arrays(f'folder-{source.fingerprint}', lambda: source[every])
    return Rows(arrays, source.names), names


@dataclasses.dataclass(frozen=True)
class Listing:
    """Image files.

    Attributes:
      root: the folder.
      files: names relative to it.
      numbers: int32 [N], each one's class.
      stats: int64 [N, 2], sizes and times of change.
    """

    root: Path
    files: list[str]
    numbers: np.ndarray
    stats: np.ndarray

    def __len__(self) -> int:
        return len(self.files)

    def path(self, number: int) -> str:
        return os.path.join(self.root, self.files[number])

    def only(self, good: np.ndarray) -> 'Listing':
        """The files where `good` [N] is true."""
        files = [file for file, whole in zip(self.files, good) if whole]
        return Listing(self.root, files, self.numbers[good], self.stats[good])

    def digest(self, *more) -> str:
        """A hash of the files and of `more`."""
        check = hashlib.sha256(repr(more).encode())
        check.update('\0'.join(self.files).encode(errors='surrogateescape'))
        check.update(self.numbers.tobytes() + self.stats.tobytes())
        return check.hexdigest()[:16]


class Images:
    """Labelled image files, decoded as they are asked for."""

    def __init__(self, listing: Listing, wanted: Shape, fingerprint: str):
        self._listing, self._wanted = listing, wanted
        self.fingerprint, self.names = fingerprint, listing.files
        self.spec = {'image': (wanted, np.dtype(np.uint8)), 'label': ((), np.dtype(np.int32))}

    def __len__(self) -> int:
        return len(self._listing)

    def __getitem__(self, indices: np.ndarray) -> Arrays:
        paths = [self._listing.path(i) for i in indices]
        try:
            found = images.decode_all(len(paths), self._wanted, lambda n: (paths[n], paths[n]))
        except UserError as error:
            raise UserError(
                f'{error}; delete it, or leave such images out: --config.data.skip_corrupt=True'
            ) from None
        return {'image': found, 'label': self._listing.numbers[indices]}


def _listing(root: Path, labels) -> tuple[Listing, tuple[str, ...]]:
    """The images of a folder with a subfolder a class, and the names of the classes."""
    if not root.is_dir():
        raise UserError(f'no folder {root}')
    classes = sorted(p.name for p in root.iterdir() if p.is_dir() and p.name[0] != '.')
    if not classes:
        raise UserError(f'{root} has no folders; images belong in one folder a class')
    names = labels or tuple(classes)
    files, numbers, stats = [], [], []
    for name in classes:
        if name not in names:
            raise unknown(f'class in {root}', name, names)
        found = images.below(root / name)
        files += [name + path[len(str(root / name)) :] for path in found]
        numbers += [names.index(name)] * len(found)
        stats += [_stat(path) for path in found]
    return Listing(root, files, np.array(numbers, np.int32), np.array(stats, np.int64)), names


def _stat(path: str) -> tuple[int, int]:
    """(size, time of change); zeros for a link to nowhere."""
    try:
        found = os.stat(path)
        return found.st_size, found.st_mtime_ns
    except OSError:
        return 0, 0


def _shapes(listing: Listing) -> np.ndarray:
    """int32 [N, 3]: every image's shape by its header, zeros for what cannot be read; kept."""

    def look() -> Arrays:
        if len(listing) > MANY:
            print(f'looking at {len(listing)} images in {listing.root} (once) ...', file=sys.stderr)
        shapes = np.zeros((len(listing), 3), np.int32)

        def one(number: int) -> None:
            with contextlib.suppress(UserError):
                shapes[number] = images.shape(listing.path(number))

        images.each(len(listing), one)
        return {'shapes': shapes}

    return kept.arrays(f'headers-{listing.digest()}', look)['shapes']


def _refuse(listing: Listing, shapes: np.ndarray) -> None:
    """Stops where a header says that an image cannot be used."""
    bad = np.flatnonzero(shapes[:, 0] == 0)
    if not bad.size:
        return
    reason = f'{listing.path(bad[0])} could not be read'  # unless it says more when asked again
    try:
        images.shape(listing.path(bad[0]))
    except UserError as error:
        reason = str(error)
    raise UserError(
        f'{len(bad)} of {len(listing)} images in {listing.root} cannot be used, the first: '
        f'{reason}; delete them, or leave them out: --config.data.skip_corrupt=True'
    )


def _whole(listing: Listing, shapes: np.ndarray) -> np.ndarray:
    """bool [N]: which images can be decoded; kept. Says how many cannot, and their names."""

    def check() -> Arrays:
        if len(listing) > MANY:
            print(f'decoding {len(listing)} images in {listing.root} (once) ...', file=sys.stderr)
        good = np.zeros(len(listing), bool)

        def one(number: int) -> None:
            with contextlib.suppress(UserError):
                if shapes[number, 0]:
                    images.decode(listing.path(number), (1, 1, 3), '')
                    good[number] = True

        images.each(len(listing), one)
        return {'good': good}

    good = kept.arrays(f'whole-{listing.digest()}', check)['good']
    bad = [listing.files[number] for number in np.flatnonzero(~good)]
    if len(bad) == len(listing):
        raise UserError(f'none of the {len(bad)} images in {listing.root} can be decoded')
    if bad:
        print(
            f'left out {len(bad)} of {len(listing)} images in {listing.root} that cannot be '
            f'decoded: {", ".join(bad[:20])}{" ..." if len(bad) > 20 else ""}',
            file=sys.stderr,
        )
    return good


def _common(listing: Listing, shapes: np.ndarray, size, channels) -> Shape:
    """The one shape that all images are decoded to."""
    own = tuple(shapes[0, :2].tolist())
    others = np.flatnonzero((shapes[:, :2] != own).any(1))
    if size is None and others.size:
        height, width = shapes[others[0], :2]
        raise UserError(
            f'{listing.path(others[0])} is {height}x{width}, {listing.path(0)} is {own[0]}x{own[1]};'
            ' set data.size to scale and cut all to one size, such as --config.data.size=224'
        )
    coloured = np.flatnonzero(shapes[:, 2] == 3)
    if channels == 1 and coloured.size:
        raise UserError(
            f'{len(coloured)} of {len(listing)} images in {listing.root} have colours, the '
            f'training images have none; the first: {listing.path(coloured[0])}'
        )
    height, width = size or own
    small = np.flatnonzero((shapes[:, :2] < (height, width)).any(1))
    if small.size:
        print(
            f'{len(small)} of {len(listing)} images in {listing.root} are smaller than '
            f'{height}x{width} and are enlarged; the first: {listing.path(small[0])}',
            file=sys.stderr,
        )
    return height, width, channels or (3 if coloured.size else 1)
