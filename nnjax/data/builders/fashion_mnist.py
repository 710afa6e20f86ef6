"""Fashion-MNIST (Xiao et al., 2017) from its four original files, as TFDS's stock recipe makes it."""

import gzip
import hashlib
import io
import os
import zlib
from pathlib import Path

import numpy as np

from nnjax.errors import UserError

# sha256 of the unpacked files: Debian's archives differ from the originals in their headers alone.
CONTENT = {
    'train-images-idx3-ubyte': 'c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888',
    'train-labels-idx1-ubyte': 'bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9',
    't10k-images-idx3-ubyte': '5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b',
    't10k-labels-idx1-ubyte': '0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34',
}
CLASSES = (
    'T-shirt/top',
    'Trouser',
    'Pullover',
    'Dress',
    'Coat',
    'Sandal',
    'Shirt',
    'Sneaker',
    'Bag',
    'Ankle boot',
)


def folder(source: str | None = None) -> Path:
    """Where the four .gz files lie: `source`, NNJAX_FASHION_MNIST, or Debian's package.

    Raises:
      UserError: they are not there.
    """
    debian = Path(os.environ.get('NNJAX_DEB_ROOT', '/')) / 'usr/share/datasets/fashion-mnist'
    path = Path(source or os.environ.get('NNJAX_FASHION_MNIST') or debian)
    missing = [name for name in CONTENT if not (path / f'{name}.gz').is_file()]
    if missing:
        raise UserError(
            f'fashion_mnist is not prepared: {path} has no {missing[0]}.gz; install the Debian '
            'package dataset-fashion-mnist, or run: nnjax data prepare fashion_mnist '
            '--source=FOLDER with the four original .gz files'
        )
    return path


def read(path: Path, name: str) -> np.ndarray:
    """An idx file -> its bytes after the header, checked."""
    try:
        raw = gzip.decompress((path / f'{name}.gz').read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f'{path / name}.gz cannot be read: {error}') from None
    if hashlib.sha256(raw).hexdigest() != CONTENT[name]:
        raise UserError(f'{path / name}.gz is not the original file of Fashion-MNIST')
    return np.frombuffer(raw, np.uint8, offset=16 if 'images' in name else 8)


def builder(source: str | None = None):
    """Folder of the original files -> the builder class, of the stock name, version and features."""
    import tensorflow_datasets as tfds

    path = folder(source)

    class FashionMNIST(tfds.core.GeneratorBasedBuilder):
        """60,000 + 10,000 pictures of clothes, 28x28, ten classes."""

        name = 'fashion_mnist'
        VERSION = tfds.core.Version('3.0.1')

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(
                    {
                        'image': tfds.features.Image(shape=(28, 28, 1)),
                        'label': tfds.features.ClassLabel(names=CLASSES),
                    }
                ),
                supervised_keys=('image', 'label'),
            )

        def _split_generators(self, _):
            return {
                'train': self._generate_examples('train'),
                'test': self._generate_examples('t10k'),
            }

        def _generate_examples(self, prefix):
            from PIL import Image

            images = read(path, f'{prefix}-images-idx3-ubyte').reshape(-1, 28, 28)
            labels = read(path, f'{prefix}-labels-idx1-ubyte')
            for i, (image, label) in enumerate(zip(images, labels, strict=True)):
                buffer = io.BytesIO()
                Image.fromarray(image).save(buffer, 'png')
                yield i, {'image': buffer.getvalue(), 'label': int(label)}

    return FashionMNIST
