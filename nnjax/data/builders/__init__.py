"""nnjax's own TFDS builders and the preparation of data sets, TensorFlow never imported."""

import contextlib
import importlib
import io
import logging
import os
import pkgutil
import re
import sys
from pathlib import Path

from nnjax import cache
from nnjax.errors import UserError, nearest

OWN = (
    'asterisk_prompts',
    'descriptions',
    'diabetes',
    'digit_scenes',
    'digits',
    'espeak_commands',
    'espeak_digits',
    'fashion_mnist',
    'fashion_scenes',
    'fillets_dialogues',
    'kjv',
    'number_words',
    'opinions',
    'stories',
    'synthetic_faces',
    'verses_en_es',
    'wordnet_glosses',
)


def data_dir() -> Path:
    """Where prepared data sets live: NNJAX_DATA_DIR, or tfds in the cache folder."""
    return Path(os.environ.get('NNJAX_DATA_DIR') or cache.root() / 'tfds')


def known() -> list[str]:
    """Every name that TFDS knows, and nnjax's own."""
    import tensorflow_datasets as tfds

    for room in ('text', 'translate'):  # of which TFDS itself imports a part
        package = f'{tfds.__name__}.{room}'
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
            if not module.name.endswith('_test'):
                with contextlib.suppress(Exception):  # what some need is not here
                    importlib.import_module(f'{package}.{module.name}')
    return sorted({*OWN, *tfds.list_builders(with_community_datasets=False)})


def rate(name: str) -> int | None:
    """Samples a second of one of nnjax's own sets, if it is one of sounds."""
    base = re.split('[/:]', name)[0]
    module = importlib.import_module(f'{__name__}.{base}') if base in OWN else None
    return getattr(module, 'RATE', None)


def recipe(name: str, folder: str | Path) -> str:
    """The command by which TFDS prepares a data set of its own, where TensorFlow is installed."""
    command = f'tfds build {name} --file_format=array_record --data_dir={folder}'
    try:
        import tensorflow_datasets as tfds

        if tfds.builder_cls(re.split('[/:]', name)[0]).MANUAL_DOWNLOAD_INSTRUCTIONS:
            command += ' --manual_dir=FOLDER_OF_ITS_ARCHIVES'
    except Exception:  # what some builders need to be imported is not here
        pass
    return command


def prepare(name: str, folder: str | None = None, source: str | None = None) -> str:
    """Prepares a data set to ArrayRecord -> a line that says where it lies.

    Args:
      name: one of nnjax's own, or a TFDS name (which may need the network and TensorFlow).
      folder: where to; default `data_dir()`.
      source: folder of the original files, where the data set has any.

    Raises:
      UserError: unknown name, files missing, or a stock recipe that cannot run here.
    """
    target = str(folder or data_dir())
    _write_in_order()
    builder = _own(name, target, source) if name in OWN else _stock(name, target)
    splits = ', '.join(f'{n} {s.num_examples}' for n, s in builder.info.splits.items())
    return f'{name} {builder.info.version}: {splits} in {builder.data_path}'


def _own(name: str, target: str, source: str | None):
    import tensorflow_datasets as tfds

    module = importlib.import_module(f'nnjax.data.builders.{name}')
    # A stock builder of the same name may be registered later; both must be free to exist.
    with tfds.core.registered.skip_registration():
        builder = module.builder(source)
    print(f'preparing {name} (once) ...', file=sys.stderr)
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS speaks of downloads; there are none
            builder(data_dir=target, file_format='array_record').download_and_prepare()
    except OSError as error:
        # Another process may have been as quick; its files are the same.
        if not builder(data_dir=target, file_format='array_record').is_prepared():
            raise UserError(f'{name} cannot be prepared in {target}: {error}') from None
    return builder(data_dir=target, file_format='array_record')


def _write_in_order() -> None:
    """Has TFDS write an example's fields in the order of their names.

    Protobuf's own order is another in every process; files of the same examples would differ, and
    with them the fingerprint of the data that a run resumes on.
    """
    import tensorflow_datasets as tfds

    def serialized(self, example) -> bytes:
        return self.get_tf_example(example).SerializeToString(deterministic=True)

    tfds.core.ExampleSerializer.serialize_example = serialized


def _stock(name: str, target: str):
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import downloader

    names = known()
    base = re.split('[/:]', name)[0]
    if base not in names:
        raise UserError(
            f'unknown data set {name!r}{nearest(base, names)} '
            f"(nnjax's own: {', '.join(OWN)}; or any TFDS name)"
        )
    print(
        f"preparing {name} by TFDS's recipe: it downloads, and may need more packages",
        file=sys.stderr,
    )
    logging.getLogger('urllib3').setLevel(logging.ERROR)
    # By default ten attempts, three minutes in all, which without a network is a long silence.
    downloader.MAX_RETRIES = 3
    try:
        builder = tfds.builder(name, data_dir=target, file_format='array_record')
        builder.download_and_prepare()
    except Exception as error:  # whatever a stock recipe meets: no network, no TensorFlow
        first = (str(error).splitlines() or [''])[0][:200]
        raise UserError(
            f'{name} cannot be prepared here ({type(error).__name__}: {first}); where there are a '
            f'network and TensorFlow, run: {recipe(name, target)} and copy the folder {base}'
        ) from None
    return builder
