"""scikit-learn's handwritten digits as a TFDS data set."""

import numpy as np


def builder(source: str | None = None):
    """-> the builder class; the digits come with scikit-learn, so `source` has no meaning."""
    import tensorflow_datasets as tfds

    class Digits(tfds.core.GeneratorBasedBuilder):
        """1,797 handwritten digits, 8x8 pixels of 0..16 (UCI optdigits, the test part).

        Split once and for all, stratified by class with seed 0: 1,437 for training, 360 for test.
        """

        name = 'digits'
        VERSION = tfds.core.Version('1.0.0')

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(
                    {
                        'image': tfds.features.Tensor(
                            shape=(8, 8, 1), dtype=np.uint8, encoding='bytes'
                        ),
                        'label': tfds.features.ClassLabel(names=[str(n) for n in range(10)]),
                    }
                ),
                supervised_keys=('image', 'label'),
            )

        def _split_generators(self, _):
            from sklearn.datasets import load_digits
            from sklearn.model_selection import train_test_split

            found = load_digits()
            train, test = train_test_split(
                np.arange(len(found.target)), test_size=360, random_state=0, stratify=found.target
            )
            rows = lambda index: self._generate_examples(found, sorted(index))
            return {'train': rows(train), 'test': rows(test)}

        def _generate_examples(self, found, index):
            for i in index:
                image = found.images[i].astype(np.uint8)[..., None]
                yield int(i), {'image': image, 'label': int(found.target[i])}

    return Digits
