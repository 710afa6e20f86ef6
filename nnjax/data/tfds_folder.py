"""A prepared TFDS folder, opened without TensorFlow, and what its examples are as arrays."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nnjax import texts
from nnjax.data import sounds
from nnjax.data.source import Arrays
from nnjax.errors import UserError

AUDIO = 'tensorflow_datasets.core.features.audio_feature.Audio'
TENSOR = 'tensorflow_datasets.core.features.tensor_feature.Tensor'


class Opened(NamedTuple):
    """A split.

    Attributes:
      source: TFDS's data source; images come out encoded.
      images: shapes of the images, None where they differ.
      sound: the field of a sound of any number of samples, '' where there is none.
      spoken: {field: names} of lists of classes beside a sound.
    """

    source: Any
    images: dict[str, tuple[int | None, ...]]
    sound: str
    spoken: dict[str, tuple[str, ...]]


def rate(path: Path) -> int | None:
    """Samples a second of the sounds of a folder, where it says so."""
    try:
        text = (path / 'features.json').read_text('utf-8')
        features = json.loads(text)['featuresDict']['features']
        heard = [f['audio'] for f in features.values() if f.get('pythonClassName') == AUDIO]
        return int(heard[0]['sampleRate']) if heard else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # what is damaged is said where examples are read


def split(path: str, name: str) -> Opened:
    """A folder and the name of one of its splits -> what is in it; raises whatever TFDS does."""
    import tensorflow_datasets as tfds

    builder, heard = _builder(path)
    features = builder.info.features
    images = {
        field: feature.shape
        for field, feature in features.items()
        if type(feature) is tfds.features.Image  # a subclass is more than an image
        and feature.np_dtype == np.uint8
        and feature.shape[2:] in ((1,), (3,))
    }
    spoken = {
        field: tuple(feature.feature.names)
        for field, feature in features.items()
        if heard
        and isinstance(feature, tfds.features.Sequence)
        and isinstance(feature.feature, tfds.features.ClassLabel)
    }
    decoders = {field: tfds.decode.SkipDecoding() for field in images}
    source = builder.as_data_source(split=name, decoders=decoders or None)
    source[0]
    return Opened(source, images, heard, spoken)


def _builder(path: str):
    """(TFDS's builder of a folder, the field of its sounds).

    TFDS's own feature of sounds asks for TensorFlow as soon as it is made; what it writes are plain
    tensors, as which they are read here.
    """
    import tensorflow_datasets as tfds
    from google.protobuf import json_format
    from tensorflow_datasets.core import dataset_info, read_only_builder
    from tensorflow_datasets.core.proto import feature_pb2

    with open(f'{path}/features.json', encoding='utf-8') as file:
        raw = file.read()
    if AUDIO not in raw:
        return tfds.builder_from_directory(path), ''
    found = json_format.ParseDict(json.loads(raw), feature_pb2.Feature())
    heard = ''
    for field, feature in sorted(found.features_dict.features.items()):
        if feature.python_class_name != AUDIO:
            continue
        audio = feature.audio
        if audio.lazy_decode:
            raise UserError(f'{path}: sounds are stored encoded; take a config without lazy_decode')
        if not heard and list(audio.shape.dimensions) == [-1]:
            heard = field
        tensor = feature_pb2.TensorFeature(
            shape=audio.shape, dtype=audio.dtype, encoding=audio.encoding.lower() or 'none'
        )
        feature.python_class_name = TENSOR
        feature.tensor.CopyFrom(tensor)
    info = dataset_info.read_proto_from_builder_dir(path)
    info.features.CopyFrom(found)
    return read_only_builder.ReadOnlyBuilder(path, info_proto=info), heard


def heard(examples: list[dict], place: list[str], opened: Opened, length: int, cut: bool) -> Arrays:
    """Examples -> 'audio' [N, length] and 'audio_length', and the texts of what is spoken in them.

    `place` is what messages call an example. Zeros stand behind a sound; of a longer one the middle
    is used, where `cut` says so.

    Raises:
      UserError: a sound that is too long, or of more than 16 bits.
    """
    found: list[np.ndarray] = []
    for example, where in zip(examples, place, strict=True):
        x = np.asarray(example[opened.sound])
        if len(x) > length and not cut:
            raise UserError(
                f'{where}, {opened.sound} has {len(x)} samples, more than data.length={length}: '
                'raise it, or use the middle of such sounds: --config.data.cut=True'
            )
        if x.dtype.kind in 'iu' and len(x) and max(-int(x.min()) - 1, int(x.max())) >= 1 << 15:
            raise UserError(f'{where}, {opened.sound} has samples of more than 16 bits')
        found.append(x.astype(np.int16 if x.dtype.kind in 'iu' else np.float32))
    arrays = {
        'audio': np.stack([sounds.fitted(x, length) for x in found]),
        'audio_length': np.array([min(len(x), length) for x in found], np.int32),
    }
    for field, names in opened.spoken.items():
        arrays[field] = texts.array(' '.join(names[n] for n in e[field]) for e in examples)
    return arrays


def answered(example: dict) -> dict:
    """An example with features as SQuAD's: `answers` become `answer`, one a line.

    Beside it `answer_start` is the first one's; where there is no answer it is -1.
    """
    answers = example.get('answers')
    if not isinstance(answers, dict) or set(answers) != {'text', 'answer_start'}:
        return example
    found = dict.fromkeys(_text(answer) for answer in answers['text'])
    starts = [*answers['answer_start'], -1]
    rest = {name: value for name, value in example.items() if name != 'answers'}
    return {**rest, 'answer': '\n'.join(found), 'answer_start': np.int32(starts[0])}


def stack(examples: list[dict]) -> Arrays:
    """Examples of one shape -> arrays; 64 bits become 32, lists and what is nested are left out."""
    fields = {}
    for name, first in examples[0].items():
        if isinstance(first, str | bytes):
            fields[name] = texts.array(_text(example[name]) for example in examples)
            continue
        values = [np.asarray(example[name]) for example in examples]
        if values[0].dtype.kind not in 'biuf':
            continue
        shapes = {value.shape for value in values}
        if len(shapes) > 1:
            raise UserError(
                f'field {name!r} has examples of different shapes, {sorted(shapes)[:2]}'
            )
        array = np.stack(values)
        narrow = {'int64': np.int32, 'float64': np.float32}.get(array.dtype.name)
        fields[name] = array.astype(narrow) if narrow else array
    return fields


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode()
