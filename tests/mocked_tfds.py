"""Mocked TFDS sets of the true features, written by TFDS's own writers without TensorFlow."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

NAMES = ('mnist', 'cifar10', 'cifar100', 'imagenet2012', 'lfw')
SPLITS = {'train': 40, 'test': 12}
MORE = {'imagenet2012': {'validation': 12}}
BROKEN = 7  # the row of imagenet2012's test split that is cut off


def prepare(path: Path) -> None:
    """All of them, under a folder."""
    import tensorflow_datasets

    tensorflow_datasets.disable_progress_bar()
    stock = [tensorflow_datasets.builder_cls(name) for name in NAMES]
    with tensorflow_datasets.core.registered.skip_registration():
        for builder in map(mocked, stock):
            builder(data_dir=str(path), file_format='array_record').download_and_prepare()


def mocked(stock):
    """A builder of TFDS's own, its name, version and features; the examples are made up."""
    splits = SPLITS | MORE.get(stock.name, {})

    class Mocked(stock):
        def _split_generators(self, _):
            return {split: self._generate_examples(split) for split in splits}

        def _generate_examples(self, split):
            features = self.info.features
            rng = np.random.default_rng(sorted(splits).index(split))
            for number in range(splits[split]):
                shape = [side or int(rng.integers(20, 90)) for side in features['image'].shape]
                kind = features['image'].encoding_format or 'png'
                example = {'image': encoded(rng, shape, kind)}
                if kind == 'jpeg' and (split, number) == ('test', BROKEN):
                    example['image'] = example['image'][:-200]
                for field in features:
                    if field == 'label' and stock.name == 'lfw':
                        example[field] = f'person {number % 8}'
                    elif 'label' in field:
                        example[field] = int(rng.integers(features[field].num_classes))
                    elif field != 'image':
                        example[field] = f'{split}_{number}.JPEG'
                yield number, example

    Mocked.name = stock.name
    return Mocked


def encoded(rng, shape, kind: str) -> bytes:
    """A smooth random picture, so that decoders may differ by little alone."""
    small = rng.integers(0, 256, (4, 4, shape[2])).astype(np.uint8)
    picture = Image.fromarray(small[..., 0] if shape[2] == 1 else small)
    buffer = io.BytesIO()
    picture.resize((shape[1], shape[0]), Image.Resampling.BICUBIC).save(buffer, kind)
    return buffer.getvalue()
