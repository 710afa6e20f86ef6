"""Generated scenes of Fashion-MNIST's items as a TFDS data set."""

import numpy as np

from nnjax.data.builders import fashion_mnist, scenes


def builder(source: str | None = None):
    """Folder of Fashion-MNIST's original files -> the builder class."""
    path = fashion_mnist.folder(source)
    about = """13,000 generated scenes of real Fashion-MNIST items, 64x64: up to four of them at
    random places under noise. Items of the test scenes are from its test split, those of the
    validation scenes the last 5,000 of its training split, which are in no training scene."""

    def parts() -> dict[str, tuple[np.ndarray, np.ndarray]]:
        images, labels, of_test, its_labels = (
            fashion_mnist.read(path, f'{split}-{kind}-ubyte')
            for split in ('train', 't10k')
            for kind in ('images-idx3', 'labels-idx1')
        )
        images, of_test = images.reshape(-1, 28, 28), of_test.reshape(-1, 28, 28)
        rest = slice(None, -5000), slice(-5000, None)
        return {
            'train': (images[rest[0]], labels[rest[0]]),
            'validation': (images[rest[1]], labels[rest[1]]),
            'test': (of_test, its_labels),
        }

    return scenes.builder('fashion_scenes', about, fashion_mnist.CLASSES, parts)
