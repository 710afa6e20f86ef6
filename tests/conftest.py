"""Strict promotion and several virtual devices for every test; caches away from the user's."""

import os
import tempfile
from pathlib import Path

os.environ['XLA_FLAGS'] = '--xla_force_host_platform_device_count=8 ' + os.environ.get(
    'XLA_FLAGS', ''
)
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
# One cache for the session and its subprocesses: prepared data and compiled programs are reused.
os.environ.setdefault(
    'NNJAX_CACHE_DIR', str(Path(tempfile.gettempdir()) / f'nnjax-tests-{os.getuid()}')
)

import hypothesis
import jax
import pytest

from nnjax.ops.native import library

# Deadlines would time the machine; a fixed seed makes every run of the suite the same.
hypothesis.settings.register_profile('nnjax', deadline=None, derandomize=True, max_examples=40)
hypothesis.settings.load_profile('nnjax')

jax.config.update('jax_numpy_dtype_promotion', 'strict')
jax.config.update('jax_numpy_rank_promotion', 'raise')
jax.config.update('jax_compilation_cache_dir', str(Path(os.environ['NNJAX_CACHE_DIR']) / 'xla'))
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)

ROOT = Path(__file__).parents[1]
EIGHT = {'digits_gru', 'digits_mlp', 'fashion_cnn'}  # that eight devices train, as two and four do
ALIKE = {
    'asterisk_ctc',
    'commands_lstm',
    'commands_small',
    'commands_vgg',
    'digit_scenes',
    'digits_ctc',
    'diamonds_mlp',
    'digits_vae',
    'fashion_autoencoder',
    'fashion_cnn_tuned',
    'fashion_lstm',
    'fashion_scenes',
    'fashion_unseen',
    'fashion_vae',
    'mnist_cnn',
    'fashion_vit',
    'librispeech_ctc',
    'speech_commands',
    'synthetic_faces',
    'synthetic_faces_grey',
    'wordnet_lstm',
    'yesno_ctc',
}


@pytest.fixture(scope='session')
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope='session')
def torch():
    """PyTorch; tests of parity with it skip, visibly, where it is not installed."""
    return pytest.importorskip('torch')


@pytest.fixture(scope='session')
def mocked_home(tmp_path_factory) -> Path:
    """A home folder whose tensorflow_datasets holds mocks of the sets that come by network."""
    from tests import mocked_sounds, mocked_texts, mocked_tfds

    home = tmp_path_factory.mktemp('home')
    mocked_tfds.prepare(home / 'tensorflow_datasets')
    mocked_sounds.prepare(home / 'tensorflow_datasets')
    mocked_texts.prepare(home)
    return home


@pytest.fixture(params=['native', 'stock'])
def kernels(request):
    """Once with the compiled kernels, once without."""
    if request.param == 'native':
        if library.load().path is None:
            pytest.skip(library.load().why)
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, 'load', lambda: library.Library(None, 'turned off'))
        yield


def pytest_collection_modifyitems(items) -> None:
    """Of an experiment much like another all laws but the first are heavy, eight devices of most."""
    for item in items:
        name = getattr(item, 'callspec', None) and item.callspec.params.get('name')
        if item.path.name != 'test_laws.py':
            continue
        alike = name in ALIKE and item.originalname != 'test_it_trains'
        if alike or (item.callspec.params.get('devices') == 8 and name not in EIGHT):
            item.add_marker(pytest.mark.heavy)


def heavy(experiment: str, all_of_them: bool = False) -> list:
    """Marks for an experiment whose programs take half a minute each to compile."""
    large = ('googlenet', 'resnet', 'deepcnn', 'fashion_vgg', 'lfw', 'transformer', 'imdb')
    large = all_of_them or any(name in experiment for name in large)
    return [pytest.mark.heavy] if large else []
