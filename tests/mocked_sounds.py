"""Mocked TFDS sets of sounds: the true names, versions and features; what is heard is made up."""

from pathlib import Path
from unittest import mock

import numpy as np

NAMES = ('librispeech/default', 'speech_commands', 'yes_no')
SPLITS = {
    'librispeech': ('train_clean100', 'dev_clean', 'test_clean'),
    'speech_commands': ('train', 'validation', 'test'),
    'yes_no': ('train',),
}
COUNT, FEWER = 40, 12  # examples of the first split and of others
LONGEST = 16000  # samples


def prepare(path: Path) -> None:
    """All, under a folder."""
    import tensorflow_datasets
    from tensorflow_datasets.core.features import audio_feature

    tensorflow_datasets.disable_progress_bar()
    # TensorFlow's types are all that TFDS wants of it here: arrays of samples never reach a decoder.
    plain = mock.patch.multiple(audio_feature, _EagerDecoder=lambda **_: None)
    dtype = mock.patch.object(audio_feature.Audio, 'dtype', property(lambda self: self.np_dtype))
    with plain, dtype:
        for name in NAMES:
            stock = tensorflow_datasets.builder_cls(name.partition('/')[0])
            with tensorflow_datasets.core.registered.skip_registration():
                builder = mocked(stock)
            made = builder(data_dir=str(path), file_format='array_record')
            made.download_and_prepare()


def mocked(stock):
    """A builder of TFDS's own with made-up examples."""

    class Mocked(stock):
        def _split_generators(self, *_):
            return {split: self._generate_examples(split) for split in SPLITS[stock.name]}

        def _generate_examples(self, split):
            first = split == SPLITS[stock.name][0]
            rng = np.random.default_rng(len(split))
            for number in range(COUNT if first else FEWER):
                yield number, example(rng, stock.name, self.info.features, number)

    Mocked.name = stock.name
    return Mocked


def example(rng, name: str, features, number: int) -> dict:
    """Noise of a drawn length, and short texts."""
    x = rng.integers(-9999, 9999, LONGEST - int(rng.integers(8000)))
    if name == 'librispeech':
        text = ' '.join('ABC'[n] for n in rng.integers(3, size=3))
        whole = {'id': f'1-2-{number}', 'speaker_id': 1, 'chapter_id': 2}
        return {'speech': x.astype(np.int16), 'text': text, **whole}
    if name == 'yes_no':
        labels = rng.integers(2, size=4).tolist()
        return {'audio': x, 'label': labels, 'audio/filename': f'{number}.wav'}
    classes = features['label'].num_classes
    return {'audio': x.astype(np.int16), 'label': int(rng.integers(classes))}
