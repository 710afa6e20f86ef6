"""Encoded images -> uint8 arrays [H, W, C], through Pillow, by threads.

What comes out is a pure function of the image and the size wanted; what is random happens on the
device. Pillow decodes and resizes without the interpreter's lock, so threads are enough.
"""

import functools
import io
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from nnjax.errors import UserError
from nnjax.machine import processors

SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.gif', '.tif', '.tiff', '.webp')

TURNING = ('JPEG', 'MPO', 'TIFF', 'WEBP')  # formats of cameras, whose EXIF may say "turn me"
ENDS = {'JPEG': b'\xff\xd9', 'PNG': b'IEND\xaeB`\x82'}  # the last bytes of a whole file, mostly

Shape = tuple[int, int, int]  # height, width, channels


def below(folder: Path, suffixes: tuple[str, ...] = SUFFIXES, what: str = 'images') -> list[str]:
    """The path of every image file in a folder and its subfolders, in order; hidden ones are not.

    Or of every file of other `suffixes`, which messages call `what`.

    Raises:
      UserError: there is none.
    """
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name[0] != '.']
        found += [
            os.path.join(place, name)
            for name in names
            if name[0] != '.' and name.lower().endswith(suffixes)
        ]
    if not found:
        raise UserError(f'{folder} has no {what} ({", ".join(suffixes)})')
    return sorted(found)


def shape(path: str | Path) -> Shape:
    """An image's (height, width, channels) from its header; 1 channel is grey, 3 are colours.

    Its last bytes are looked at too: where they are not a file's usual end, it is decoded.

    Raises:
      UserError: what is no image, or only a part of one, naming the file.
    """
    with _opened(path, path) as image:
        width, height = image.size
        if _orientation(image) >= 5:  # a quarter
            width, height = height, width
        if image.mode in ('I', 'F'):
            raise UserError(f'{path} has pixels of 32 bits; images have 8 or 16')
        if not _ended(image):
            decode(path, (1, 1, 3), path)
        return height, width, 1 if image.mode[0] in '1LI' and image.mode != 'LAB' else 3


def decode(file: str | Path | bytes, wanted: Shape, name: object) -> np.ndarray:
    """A file or its bytes -> uint8 `wanted`: turned as EXIF says, grey or colour, scaled and cut.

    The image is scaled to cover height x width, and its centre is taken. Transparency is dropped;
    16 bits keep their upper 8. Scaling is bilinear with antialiasing; a JPEG at least twice too
    large is halved, as often as that goes, while it is decoded.

    Raises:
      UserError: what is no image or is damaged, by its `name`.
    """
    from PIL import Image, ImageOps

    height, width, channels = wanted
    with _opened(file, name) as image:
        orientation = _orientation(image)
        try:
            image.draft(None, (height, width) if orientation >= 5 else (width, height))
            drawn = ImageOps.exif_transpose(image) if orientation > 1 else image
            if drawn.mode.startswith('I;16'):
                drawn = Image.fromarray((np.asarray(drawn) >> 8).astype(np.uint8))
            mode = 'L' if channels == 1 else 'RGB'
            drawn = drawn if drawn.mode == mode else drawn.convert(mode)
            return np.asarray(_covering(drawn, width, height)).reshape(wanted)
        except Exception as error:  # Pillow raises whatever a damaged file leads it to
            raise UserError(f'{name} is damaged ({_first(error)})') from None


def _covering(image, width: int, height: int):
    """The largest centred part of an image that has the proportions, as width x height pixels."""
    from PIL import Image

    if image.size == (width, height):
        return image
    scale = min(image.width / width, image.height / height)
    left, top = (image.width - scale * width) / 2, (image.height - scale * height) / 2
    box = (max(left, 0), max(top, 0), image.width - max(left, 0), image.height - max(top, 0))
    return image.resize((width, height), Image.Resampling.BILINEAR, box=box)


def decode_all(
    count: int, wanted: Shape, read: Callable[[int], tuple[str | bytes, object]]
) -> np.ndarray:
    """`count` images, each by `read(number)` -> (file or bytes, name) -> uint8 [count, *wanted]."""
    images = np.empty((count, *wanted), np.uint8)

    def one(number: int) -> None:
        file, name = read(number)
        images[number] = decode(file, wanted, name)

    each(count, one)
    return images


def each(count: int, act: Callable[[int], None]) -> None:
    """act(0) ... act(count - 1), by a thread a processor; the first error is raised.

    `act` must not wait for another call of `each`: all of them share the threads.
    """
    share = max(4, -(-count // 256))

    def some(start: int) -> None:
        for number in range(start, min(start + share, count)):
            act(number)

    list(_threads().map(some, range(0, count, share)))


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(processors(), thread_name_prefix='nnjax-images')


def _opened(file: str | Path | bytes, name: object):
    from PIL import Image

    try:
        return Image.open(io.BytesIO(file) if isinstance(file, bytes) else file)
    except Exception as error:
        reason = '' if isinstance(error, Image.UnidentifiedImageError) else f' ({_first(error)})'
        raise UserError(f'{name} is no image that can be read{reason}') from None


def _ended(image) -> bool:
    """Whether an open file's last bytes are its format's, where it has any."""
    end = ENDS.get(image.format, b'')
    try:
        image.fp.seek(-len(end), os.SEEK_END)
        return image.fp.read(len(end)) == end
    except OSError:
        return False


def _orientation(image) -> int:
    """EXIF's 1 to 8; 1 is upright, 5 and more are turned by a quarter."""
    try:
        return image.getexif().get(0x0112, 1) if image.format in TURNING else 1
    except Exception:  # damaged EXIF says nothing
        return 1


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
