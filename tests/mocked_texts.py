"""Mocked TFDS sets of texts: the true names, versions and features; the texts are made up."""

from pathlib import Path

import numpy as np

NAMES = (
    'ag_news_subset',
    'glue/sst2',
    'imdb_reviews/plain_text',
    'squad/v1.1',
    'tiny_shakespeare',
    'wmt14_translate/de-en',
)
SPLITS = {'train': 40, 'validation': 12, 'test': 12}
FEWER = {'ag_news_subset': ('train', 'test'), 'imdb_reviews': ('train', 'test')}
FEWER |= {'squad': ('train', 'validation')}


def prepare(home: Path) -> None:
    """All, where TFDS looks for them under a home folder, and the files of IWSLT 2014."""
    import tensorflow_datasets
    from tensorflow_datasets.text import glue
    from tensorflow_datasets.translate import wmt14

    tensorflow_datasets.disable_progress_bar()
    folder = str(home / 'tensorflow_datasets')
    own = {'glue': glue.Glue, 'wmt14_translate': wmt14.Wmt14Translate}
    for name in NAMES:
        base, _, config = name.partition('/')
        stock = own.get(base) or tensorflow_datasets.builder_cls(base)
        with tensorflow_datasets.core.registered.skip_registration():
            builder = mocked(stock)
        made = builder(config=config or None, data_dir=folder, file_format='array_record')
        made.download_and_prepare()
    parallel(home / 'iwslt14')


def parallel(folder: Path) -> None:
    """Two files a split, line by line."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for split, count in (('train', 40), ('valid', 12), ('test', 12)):
        for language in ('de', 'en'):
            rows = [text(rng, 12) for _ in range(count)]
            (folder / f'{split}.{language}').write_text('\n'.join(rows) + '\n', encoding='utf-8')


def text(rng, size: int) -> str:
    return ' '.join(f'w{word}é' for word in rng.integers(0, 50, int(rng.integers(4, size + 1))))


def mocked(stock):
    """A builder of TFDS's own with made-up examples."""

    class Mocked(stock):
        def _split_generators(self, *_):
            splits = FEWER.get(stock.name, SPLITS)
            return {split: self._generate_examples(split) for split in splits}

        def _generate_examples(self, split):
            rng = np.random.default_rng(len(split))
            count = 1 if stock.name == 'tiny_shakespeare' else SPLITS[split]
            for number in range(count):
                yield number, example(rng, self.info.features, number, 1000 if count == 1 else 12)

    Mocked.name = stock.name
    return Mocked


def example(rng, features, number: int, size: int) -> dict:
    """An example of a set's features; classes go in turn, an answer is three words of its context."""
    found = {}
    for name, feature in features.items():
        if hasattr(feature, 'num_classes'):
            found[name] = number % feature.num_classes
        elif name == 'idx':
            found[name] = number
        elif name != 'answers':
            found[name] = text(rng, size)
    if 'answers' in features:
        words = found['context'].split()
        texts = [' '.join(words[1:4]), words[1]]
        found['answers'] = {'text': texts, 'answer_start': [len(words[0]) + 1] * 2}
    return found
