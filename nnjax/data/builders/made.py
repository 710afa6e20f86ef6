"""What nnjax's own builders of texts and sounds have in common."""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nnjax.errors import UserError


def builder(
    name: str,
    about: str,
    features: Mapping[str, Any],
    splits: Mapping[str, Callable[[], Iterable[dict]]],
    version: str = '1.0.0',
):
    """A name, what the set is, {field: its kind}, {split: its examples}.

    A kind is str, int, the names of classes, or a number of samples of sound, int16.

    -> a builder class of TFDS; examples are numbered in the order in which they come.
    """
    import tensorflow_datasets as tfds

    def feature(kind):
        if kind is str:
            return tfds.features.Text()
        if isinstance(kind, int):
            return tfds.features.Tensor(shape=(kind,), dtype=np.int16, encoding='bytes')
        return np.int32 if kind is int else tfds.features.ClassLabel(names=kind)

    class Made(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version(version)

        def _info(self):
            found = {field: feature(kind) for field, kind in features.items()}
            return tfds.core.DatasetInfo(
                builder=self, description=about, features=tfds.features.FeaturesDict(found)
            )

        def _split_generators(self, _):
            return {split: self._generate_examples(make) for split, make in splits.items()}

        def _generate_examples(self, make):
            yield from enumerate(make())

    Made.name = name
    return Made


def debian(name: str, package: str, folder: str, source: str | None, *files: str) -> Path:
    """The folder of a Debian package's files: `source`, or /usr/... under NNJAX_DEB_ROOT.

    Raises:
      UserError: a file is not there; the line names the package.
    """
    path = Path(source or Path(os.environ.get('NNJAX_DEB_ROOT') or '/') / folder)
    for file in files:
        if not (path / file).is_file():
            raise UserError(
                f'{name} is not prepared: no {path / file}; install the Debian package {package}, '
                'or set NNJAX_DEB_ROOT to a folder where it is unpacked'
            )
    return path
