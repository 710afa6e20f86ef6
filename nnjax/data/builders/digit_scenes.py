"""Generated scenes of scikit-learn's handwritten digits as a TFDS data set."""

import numpy as np

from nnjax.data.builders import scenes


def builder(source: str | None = None):
    """-> the builder class; the digits come with scikit-learn, so `source` has no meaning."""
    about = """13,000 generated scenes of real digits, 64x64: up to four of scikit-learn's 8x8 digits,
    enlarged, at random places under noise. The digits of the test and validation scenes, 360 and
    144, are in no other scenes; the 360 are the test split of the data set digits."""
    return scenes.builder('digit_scenes', about, [str(n) for n in range(10)], _parts)


def _parts() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    found = load_digits()
    images = np.rint(found.images * (255 / 16)).astype(np.uint8)
    options = {'random_state': 0, 'stratify': found.target}
    rest, test = train_test_split(np.arange(len(found.target)), test_size=360, **options)
    options['stratify'] = found.target[rest]
    train, valid = train_test_split(rest, test_size=144, **options)
    rows = {'train': train, 'validation': valid, 'test': test}
    return {name: (images[index], found.target[index]) for name, index in rows.items()}
