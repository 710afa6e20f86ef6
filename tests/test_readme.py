"""Every command and code block of the README runs."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib

import numpy as np
import pytest
from packaging.requirements import Requirement

from nnjax import config as configs
from nnjax.data import builders
from tests.conftest import ROOT, heavy

TEXT = (ROOT / 'README.md').read_text()
BLOCKS = re.findall(r'^```(\w+)\n(.*?)^```', TEXT, flags=re.M | re.S)
TABLE = re.findall(r'^\| `(nnjax [^`]+)`', TEXT, flags=re.M)


def commands() -> list[str]:
    lines = [line for kind, block in BLOCKS if kind == 'bash' for line in block.splitlines()]
    return [line for line in lines if line.strip() and line != './launch.sh test']


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Where a reader who follows the README would be, with the files it speaks of."""
    path = tmp_path_factory.mktemp('readme')
    experiment = next(b for kind, b in BLOCKS if kind == 'python' and 'def get_config' in b)
    (path / 'mine.py').write_text(experiment)
    return path


def run(command: str, folder) -> subprocess.CompletedProcess:
    """A README line; the launcher's job is the command it passes on to, installed already."""
    words = shlex.split(command, comments=True)
    if words[0] == './launch.sh':
        words = ['nnjax', *(words[1:] or ['train', '--config=digits_mlp'])]
    assert words[0] in ('nnjax', 'python')
    words = [
        sys.executable,
        *(['-m'] if words[0] == 'nnjax' else []),
        *words[words[0] == 'python' :],
    ]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'XLA_FLAGS': ''}
    return subprocess.run(
        words, cwd=folder, capture_output=True, text=True, env=environment, check=False
    )


@pytest.mark.slow
def test_commands_run(folder):
    """One after another: some need what an earlier one made."""
    for command in commands():
        done = run(command, folder)
        assert done.returncode == 0, f'{command}: {done.stderr}'


def test_the_digits_to_predict_are_made(folder):
    before = commands()[: commands().index(next(c for c in commands() if 'predict' in c))]
    assert run(before[-1], folder).returncode == 0
    digits = np.load(folder / 'digits.npy')
    assert digits.shape == (5, 8, 8) and digits.max() == 16


@pytest.fixture
def launch(tmp_path):
    """Runs a copy of launch.sh with a uv that only writes down what it was told."""
    for name in ('launch.sh', 'pyproject.toml', 'requirements.txt'):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / 'uv').write_text(
        f'#!/bin/sh\necho "$@" >>{tmp_path}/told\nmkdir -p {tmp_path}/.venv\n'
    )
    (tmp_path / 'uv').chmod(0o755)
    environment = {**os.environ, 'PATH': f'{tmp_path}:{os.environ["PATH"]}'}
    return lambda *words: subprocess.run(
        [tmp_path / 'launch.sh', *words],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )


def test_the_launcher_installs_extras(launch, tmp_path):
    extras = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project'][
        'optional-dependencies'
    ]
    assert launch('install', *extras).returncode == 0
    told = (tmp_path / 'told').read_text()
    assert told.rstrip().endswith(f'-e {tmp_path}[{",".join(extras)}]')
    assert launch('install', *extras).returncode == 0  # nothing to do
    assert (tmp_path / 'told').read_text() == told
    for words in ([], ['speach'], ['speech', 'tex.']):
        done = launch('install', *words)
        assert done.returncode == 2 and 'the extras are clusters, detection, ' in done.stderr
    assert f'The extras are {", ".join(sorted(extras)[:-1])} and {max(extras)}.' in TEXT


@pytest.mark.parametrize('number', range(len([1 for kind, _ in BLOCKS if kind == 'python'])))
def test_code_runs(number, folder, monkeypatch):
    monkeypatch.chdir(folder)
    code = [block for kind, block in BLOCKS if kind == 'python'][number]
    exec(compile(code, f'README python block {number}', 'exec'), {'__name__': 'readme'})


# One of each kind as a process; the laws train all of them.
KINDS = {'digits_mlp', 'cifar10_resnet', 'opinions_gru', 'diabetes_mlp'}


@pytest.mark.parametrize(
    'command',
    [
        pytest.param(c, marks=[] if (n := re.search(r'=(\w+)', c)[1]) in KINDS else heavy(n, True))
        for c in TABLE
    ],
)
def test_table_commands_run(command, folder):
    """The table's experiments, two steps each; a set that comes by network is refused."""
    data = configs.load(re.search(r'=(\w+)', command)[1]).data
    source = data.get('name') or data.get('data', data).get('name')
    command = re.sub(r'(--config=\w+)', r'\1:smoke', command)
    done = run(command, folder)
    if source not in builders.OWN and 'is not prepared' in done.stderr:
        assert f'tfds build {source}' in done.stderr
        return
    lacking = ('nnjax data prepare fashion_mnist', 'Debian package', 'pip install', 'no file')
    if any(words in done.stderr for words in lacking):
        pytest.skip(done.stderr.splitlines()[-1])
    assert done.returncode == 0, done.stderr


def test_every_experiment_is_in_the_table():
    named = {re.search(r'--config=(\w+)', command)[1] for command in TABLE}
    assert named == {p.stem for p in (ROOT / 'experiments').glob('*.py')}


def test_benchmarks_are_named():
    for script in (ROOT / 'experiments' / 'benchmarks').glob('*.py'):
        if 'app.run' not in script.read_text():
            continue  # a part of another
        assert f'experiments/benchmarks/{script.name}' in TEXT


@pytest.mark.parametrize('python', ['3.11', '3.12', '3.13'])
def test_the_lock_names_every_package_once_for_each_python(python):
    lines = map(Requirement, (ROOT / 'requirements.txt').read_text().splitlines())
    versions = {'python_version': python, 'python_full_version': f'{python}.1'}
    names = [r.name for r in lines if not r.marker or r.marker.evaluate(versions)]
    assert len(names) == len(set(names)) and {'jax', 'flax', 'numpy', 'optuna'} <= set(names)
