"""scikit-learn's diabetes patients as a TFDS data set."""

import numpy as np


def builder(source: str | None = None):
    """-> the builder class; the data come with scikit-learn, so `source` has no meaning."""
    import tensorflow_datasets as tfds

    class Diabetes(tfds.core.GeneratorBasedBuilder):
        """442 patients, ten measurements each, and how far diabetes went within a year.

        Efron et al., Least angle regression, 2004. One split, 'train', of which `test` and `valid`
        are held out.
        """

        name = 'diabetes'
        VERSION = tfds.core.Version('1.0.0')

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(
                    {
                        'features': tfds.features.Tensor(shape=(10,), dtype=np.float32),
                        'target': tfds.features.Tensor(shape=(1,), dtype=np.float32),
                    }
                ),
                supervised_keys=('features', 'target'),
            )

        def _split_generators(self, _):
            return {'train': self._generate_examples()}

        def _generate_examples(self):
            from sklearn.datasets import load_diabetes

            found = load_diabetes(scaled=False)
            for i, (row, target) in enumerate(zip(found.data, found.target, strict=True)):
                yield i, {'features': row.astype(np.float32), 'target': np.float32([target])}

    return Diabetes
