"""Twenty command words spoken by espeak-ng, as a TFDS data set: synthetic speech."""

import numpy as np

from nnjax.data.builders import espeak

RATE = 16000
WORDS = (
    'yes', 'no', 'up', 'down', 'left', 'right', 'on', 'off', 'stop', 'go', 'zero', 'one', 'two',
    'three', 'four', 'five', 'six', 'seven', 'eight', 'nine',
)  # fmt: skip
SIZES = {'train': 8000, 'valid': 1600, 'test': 1600}
SNR = (5.0, 30.0)  # decibels


def builder(source: str | None = None):
    """-> the builder class; espeak-ng speaks, so `source` has no meaning."""
    import tensorflow_datasets as tfds

    class EspeakCommands(tfds.core.GeneratorBasedBuilder):
        """Synthetic: a word somewhere in a second of noise, 16 kHz; voices of a split are its own."""

        name = 'espeak_commands'
        VERSION = tfds.core.Version('1.0.0')

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(
                    {
                        'audio': tfds.features.Tensor(
                            shape=(RATE,), dtype=np.int16, encoding='bytes'
                        ),
                        'label': tfds.features.ClassLabel(names=WORDS),
                    }
                ),
                supervised_keys=('audio', 'label'),
            )

        def _split_generators(self, _):
            return {split: self._generate_examples(split) for split in SIZES}

        def _generate_examples(self, split):
            for number, (audio, label) in enumerate(examples(split, SIZES[split])):
                yield number, {'audio': audio, 'label': label}

    return EspeakCommands


def examples(split: str, count: int):
    """Yields (int16 [16000], class) for the first `count` examples of a split."""
    random, voices = espeak.rng(split), espeak.voices(split)
    labels = [n % len(WORDS) for n in range(count)]
    requests = [espeak.request(random, WORDS[label], voices) for label in labels]
    for label, x in zip(labels, espeak.speak(requests, RATE), strict=True):
        start = random.randint(max(0, RATE - len(x)) + 1)
        yield espeak.placed(random, x, RATE, start, SNR), label
