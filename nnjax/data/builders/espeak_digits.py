"""Connected digits with their transcripts, spoken by espeak-ng, as a TFDS data set: synthetic."""

import numpy as np

from nnjax.data.builders import espeak

RATE = 8000
LENGTH = 4 * RATE
WORDS = ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')
DIGITS = (2, 6)  # of an utterance
SIZES = {'train': 6000, 'valid': 600, 'test': 1000}
SNR = (10.0, 30.0)  # decibels
MARGIN = RATE // 5  # of silence before the first digit and behind the last, at most


def builder(source: str | None = None):
    """-> the builder class; espeak-ng speaks, so `source` has no meaning."""
    import tensorflow_datasets as tfds

    class EspeakDigits(tfds.core.GeneratorBasedBuilder):
        """Synthetic: two to six digits in one breath, 8 kHz; voices of a split are its own."""

        name = 'espeak_digits'
        VERSION = tfds.core.Version('1.0.0')

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(
                    {
                        'audio': tfds.features.Tensor(
                            shape=(LENGTH,), dtype=np.int16, encoding='bytes'
                        ),
                        'audio_length': tfds.features.Scalar(np.int32),
                        'text': tfds.features.Text(),
                    }
                ),
                supervised_keys=('audio', 'text'),
            )

        def _split_generators(self, _):
            return {split: self._generate_examples(split) for split in SIZES}

        def _generate_examples(self, split):
            for number, (audio, length, text) in enumerate(examples(split, SIZES[split])):
                yield number, {'audio': audio, 'audio_length': length, 'text': text}

    return EspeakDigits


def examples(split: str, count: int):
    """Yields (int16 [32000], samples that are real, text) for the first examples of a split."""
    random, voices = espeak.rng(split), espeak.voices(split)
    texts = [_text(random) for _ in range(count)]
    requests = [espeak.request(random, text, voices) for text in texts]
    for text, x in zip(texts, espeak.speak(requests, RATE), strict=True):
        start, behind = random.randint(MARGIN, size=2)
        length = min(LENGTH, start + len(x) + behind)
        audio = espeak.placed(random, x[: length - start], length, start, SNR)
        yield np.pad(audio, (0, LENGTH - length)), length, text


def _text(random: np.random.RandomState) -> str:
    digits = random.randint(len(WORDS), size=random.randint(DIGITS[0], DIGITS[1] + 1))
    return ' '.join(WORDS[digit] for digit in digits)
