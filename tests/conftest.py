"""Strict promotion and several virtual devices for every test; caches away from the user's."""

import os
import tempfile
from pathlib import Path

# What tests run is small: compiling it without LLVM's optimisations saves a third of their time.
os.environ['XLA_FLAGS'] = ' '.join(
    [
        '--xla_force_host_platform_device_count=8',
        '--xla_backend_optimization_level=0',
        os.environ.get('XLA_FLAGS', ''),
    ]
)
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
if 'PYTEST_XDIST_WORKER' in os.environ:  # the workers are the threads
    os.environ.setdefault('OMP_NUM_THREADS', '1')
# One cache for the session and its subprocesses: prepared data and compiled programs are reused.
os.environ.setdefault(
    'NNJAX_CACHE_DIR', str(Path(tempfile.gettempdir()) / f'nnjax-tests-{os.getuid()}')
)

import hypothesis
import jax
import pytest

from nnjax.ops.native import library
from nnjax.training import runner

# Deadlines would time the machine; a fixed seed makes every run of the suite the same.
hypothesis.settings.register_profile('nnjax', deadline=None, derandomize=True, max_examples=25)
hypothesis.settings.load_profile('nnjax')

jax.config.update('jax_numpy_dtype_promotion', 'strict')
jax.config.update('jax_numpy_rank_promotion', 'raise')
jax.config.update('jax_compilation_cache_dir', str(Path(os.environ['NNJAX_CACHE_DIR']) / 'xla'))
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.5)
jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)

ROOT = Path(__file__).parents[1]
# The laws: experiments of the plain run hold all of them, but of COSTLY the first two alone and on
# two devices; those of the long run hold them there. Of the others, which share these kinds' code,
# the laws are heavy, but those of EVERYWHERE are of the long run, and that those of SMALLER train.
PLAIN = ('digits_mlp', 'digits_gru', 'fashion_cnn')
LONG = {
    'commands_mlp',
    'diabetes_mlp',
    'digits_autoencoder',
    'digits_vae',
    'digits_vgg',
    'number_words',
    'stories_qa',
}
COSTLY = {'test_devices_do_not_change_the_run', 'test_a_lane_is_its_solo_run'}
SMALLER = {'cifar10_resnet', 'cifar100_resnet', 'fashion_deepcnn', 'fashion_googlenet'}
SMALLER |= {'fashion_resnet', 'fashion_vgg', 'imagenet_resnet50'}
EVERYWHERE = {'test_it_trains', 'test_program_and_step_are_functions_of_the_config'}


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
    mocked_texts.prepare(home)
    mocked_sounds.prepare(home / 'tensorflow_datasets')
    return home


@pytest.fixture(scope='module', autouse=True)
def forgotten():
    """A module's compiled programs leave memory with it; the cache on disk keeps them."""
    yield
    runner.forget()
    jax.clear_caches()


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
    """Marks what laws of which experiments are slow or heavy."""
    for item in items:
        law = getattr(item, 'originalname', '')
        if item.path.name == 'test_laws.py' and law != 'test_every_field_can_be_set_by_flag':
            name, devices = (item.callspec.params.get(n) for n in ('name', 'devices'))
            if name in (PLAIN[:2] if law in COSTLY else PLAIN) and devices in (None, 2):
                continue
            long = name in (PLAIN if law in COSTLY else LONG) or law in EVERYWHERE
            long |= law == 'test_resume_is_bitwise' and 'transformer' in name
            if not item.get_closest_marker('heavy') or (
                law == 'test_it_trains' and name in SMALLER
            ):
                item.add_marker(pytest.mark.slow if long else pytest.mark.heavy)


def heavy(experiment: str, all_of_them: bool = False) -> list:
    """Marks for an experiment whose programs take half a minute each to compile."""
    large = ('googlenet', 'resnet', 'deepcnn', 'fashion_vgg', 'lfw')
    large = all_of_them or any(name in experiment for name in large)
    return [pytest.mark.heavy] if large else []
