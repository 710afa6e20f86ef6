"""The command line: what works, and one clear line for what cannot."""

import csv
import io
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnjax import cli
from nnjax.training.folder import environment

SMOKE = '--config=digits_mlp:smoke'


def nnjax(capsys, *argv: str) -> tuple[int, str, str]:
    """Runs a command in this process -> (exit code, standard output, standard error)."""
    with pytest.raises(SystemExit) as stop:
        cli.main(list(argv))
    captured = capsys.readouterr()
    return stop.value.code, captured.out, captured.err


@pytest.fixture(scope='module')
def run_folder(tmp_path_factory) -> Path:
    """A short run on digits."""
    folder = tmp_path_factory.mktemp('cli') / 'run'
    with pytest.raises(SystemExit) as stop:
        cli.main(
            [
                'train',
                '--config=digits_mlp',
                '--config.total=10 epochs',
                f'--workdir={folder}',
                '--quiet',
            ]
        )
    assert stop.value.code == 0
    return folder


def test_train_writes_a_whole_run_folder(run_folder):
    names = {p.name for p in run_folder.iterdir()}
    assert {
        'config.json',
        'metrics.jsonl',
        'environment.json',
        'checkpoints',
        'predictions',
        'report.html',
    } <= names
    last = json.loads((run_folder / 'metrics.jsonl').read_text().splitlines()[-1])
    assert last['split'] == 'test' and last['accuracy'] > 0.9


@pytest.mark.parametrize('program', ['/usr/bin/nnjax', '/src/nnjax/__main__.py'])
def test_the_command_can_be_typed_again(program, monkeypatch):
    """Also of `python -m nnjax`, whose first word is a file."""
    monkeypatch.setattr('sys.argv', [program, 'train', '--config.total=2 steps'])
    assert environment()['command'] == "nnjax train '--config.total=2 steps'"


def test_a_password_is_not_kept(monkeypatch):
    typed = ['--storage=postgresql://me:se:cret@host/db', '--random=optim.lr=log(1e-4,1e-1)']
    monkeypatch.setattr('sys.argv', ['nnjax', 'sweep', *typed])
    command = environment()['command']
    assert 'cret' not in command and '--storage=postgresql://me:***@host/db' in command
    assert typed[1] in command.replace("'", '')


def test_running_again_says_finished(run_folder, capsys):
    code, out, _ = nnjax(
        capsys,
        'train',
        '--config=digits_mlp',
        '--config.total=10 epochs',
        f'--workdir={run_folder}',
    )
    assert code == 0 and 'finished' in out


def test_the_closing_line_tells_the_scores_of_the_task(capsys, monkeypatch, tmp_path):
    scores = {'error': 0.2, 'loss': 3.25, 'wer': 0.0096, 'cer': 0.00448, 'exact': 0.5}
    final = {'split': 'test', **scores, 'best_step': 7, 'seconds': 1.25}
    result = types.SimpleNamespace(records=[final], state=0)
    monkeypatch.setattr('nnjax.training.loop.train', lambda *given, **more: result)
    monkeypatch.setattr('nnjax.report.write', lambda folder: f'{folder}/report.html')
    code, out, _ = nnjax(capsys, 'train', SMOKE, f'--workdir={tmp_path}/run', '--quiet')
    line = 'test loss 3.25  wer 0.0096  cer 0.00448  (best of step 7, 1.2 s)'
    assert code == 0 and out.splitlines()[0] == line


def test_evaluate_agrees_with_training(run_folder, capsys):
    code, out, _ = nnjax(capsys, 'evaluate', f'--workdir={run_folder}')
    last = json.loads((run_folder / 'metrics.jsonl').read_text().splitlines()[-1])
    scores = json.loads(out)
    assert code == 0 and scores['examples'] == 360
    for name in ('loss', 'accuracy', 'macro_f1', 'ece'):
        assert scores[name] == pytest.approx(last[name], rel=1e-5)


@pytest.mark.parametrize('checkpoint', ['best', 'last'])
@pytest.mark.parametrize('split', ['train', 'valid'])
def test_evaluate_other_splits_and_checkpoints(run_folder, capsys, split, checkpoint):
    code, out, _ = nnjax(
        capsys,
        'evaluate',
        f'--workdir={run_folder}',
        f'--split={split}',
        f'--checkpoint={checkpoint}',
    )
    assert code == 0 and json.loads(out)['split'] == split


@pytest.fixture(scope='module')
def digits():
    from sklearn.datasets import load_digits

    found = load_digits()
    return found.images.astype(np.uint8)[..., None], found.target


def read_csv(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_predict_arrays(run_folder, capsys, tmp_path, digits):
    images, labels = digits
    np.save(tmp_path / 'x.npy', images[:300])
    np.savez(tmp_path / 'x.npz', image=images[:300])
    answers = []
    for name in ('x.npy', 'x.npz'):
        code, out, _ = nnjax(capsys, 'predict', f'--workdir={run_folder}', str(tmp_path / name))
        assert code == 0
        answers.append([(row['class'], row['probability']) for row in read_csv(out)])
    assert answers[0] == answers[1] and len(answers[0]) == 300
    assert np.mean([int(c) == y for (c, _), y in zip(answers[0], labels)]) > 0.9


def test_predict_image_files_and_folders_to_jsonl(run_folder, capsys, tmp_path, digits):
    images, labels = digits
    (tmp_path / 'in').mkdir()
    for number in range(20):
        Image.fromarray(images[number, ..., 0]).save(tmp_path / 'in' / f'{number:02}.png')
    code, _, _ = nnjax(
        capsys,
        'predict',
        f'--workdir={run_folder}',
        str(tmp_path / 'in'),
        f'--output={tmp_path / "out.jsonl"}',
    )
    rows = [json.loads(line) for line in (tmp_path / 'out.jsonl').read_text().splitlines()]
    assert code == 0 and len(rows) == 20 and rows[3]['input'].endswith('03.png')
    assert sum(int(row['class']) == y for row, y in zip(rows, labels)) >= 17
    code, out, _ = nnjax(
        capsys, 'predict', f'--workdir={run_folder}', str(tmp_path / 'in' / '03.png')
    )
    assert read_csv(out)[0]['class'] == rows[3]['class']


def test_cost_lists_layers_and_totals(capsys):
    code, out, _ = nnjax(capsys, 'cost', '--config=digits_mlp', '--config.model.hidden=(64,)')
    assert code == 0 and '4,810' in out and 'Dense_0' in out and 'FLOPs' in out


def test_data_show_draws_a_picture(capsys, tmp_path):
    code, out, _ = nnjax(
        capsys,
        'data',
        'show',
        '--config=digits_mlp',
        f'--output={tmp_path / "sheet.png"}',
        '--examples=16',
    )
    assert code == 0 and '16 examples' in out
    assert Image.open(tmp_path / 'sheet.png').size[0] > 100


def test_data_show_draws_sounds(capsys, monkeypatch, tmp_path):
    """Time runs to the right, low bands lie below; captions are the texts."""
    time, band = np.meshgrid(np.arange(30), np.arange(4), indexing='ij')
    vocabulary = types.SimpleNamespace(decode=lambda ids: np.array(['one', 'two', 'no'])[ids[:, 0]])
    batch = {
        'audio': np.stack([time / 29.0, band / 3.0, 0.0 * time]).astype(np.float32),
        'text': np.arange(3)[:, None],
        'mask': np.ones(3),
    }
    made = types.SimpleNamespace(
        example={'audio': ((8000,), np.int16), 'text': ((1,), np.int32)},
        config=types.SimpleNamespace(task={'label': 'text'}),
        prepare=types.SimpleNamespace(vocabularies={'text': vocabulary}),
        dataset=types.SimpleNamespace(labels=()),
    )
    monkeypatch.setattr('nnjax.training.setup.setup', lambda config: made)
    monkeypatch.setattr('nnjax.training.feed.augmented', lambda made, step, count: batch)
    drawn = {}
    monkeypatch.setattr('nnjax.report.sheet.write', lambda *given, **_: drawn.update(given=given))
    code, out, _ = nnjax(capsys, 'data', 'show', SMOKE, f'--output={tmp_path / "b.png"}')
    assert code == 0 and '3 examples' in out
    _, images, captions = drawn['given']
    assert images.shape == (3, 4, 30, 1) and captions == ['one', 'two', 'no']
    assert (images[0, :, 0] == 0).all() and (images[0, :, -1] == 255).all()
    assert (images[1, 0] == 255).all() and (images[1, -1] == 0).all()

    made.example.pop('audio')
    batch['places'] = batch.pop('audio')  # a large array that no picture is made of
    code, out, _ = nnjax(capsys, 'data', 'show', SMOKE)
    row = json.loads(out.splitlines()[1])
    assert row == {'text': 'two', 'places': 'float32 [30, 4]'}
    code, _, err = nnjax(capsys, 'data', 'show', SMOKE, '--output=b.txt')
    assert code == 2 and 'has nothing to draw' in err


@pytest.mark.slow
def test_data_show_draws_every_operation(capsys, tmp_path):
    sheet = tmp_path / 'sheet.png'
    code, out, _ = nnjax(
        capsys, 'data', 'show', '--config=digits_mlp', '--operations', f'--output={sheet}'
    )
    width, height = Image.open(sheet).size
    assert code == 0 and 'operations on examples' in out and height > 2 * width


def test_data_prepare(capsys, tmp_path):
    code, _, _ = nnjax(capsys, 'data', 'prepare', 'digits', f'--data_dir={tmp_path}')
    assert code == 0 and list(tmp_path.rglob('*.array_record*'))


def test_help(capsys):
    code, out, _ = nnjax(capsys, '--help')
    assert code == 0 and all(name in out for name in cli.COMMANDS)
    code, out, _ = nnjax(capsys, 'train', '--help')
    assert code == 0 and '--workdir' in out
    code, out, _ = nnjax(capsys, 'train', SMOKE, '--help')
    assert 'optim.lr = ' in out and 'a number >= 0' in out and 'one of auto, jit, pmap, fsdp' in out
    code, out, _ = nnjax(capsys, '--version')
    assert code == 0 and out.strip()[0].isdigit()


def test_python_m_nnjax_is_the_command():
    done = subprocess.run(
        [sys.executable, '-m', 'nnjax', 'trane'], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("nnjax: unknown command 'trane'; did you mean 'train'?")


@pytest.mark.parametrize('word, code', [('version', 0), ('trane', 2)])
def test_a_reader_that_left_is_no_traceback(word, code):
    """What was printed is still in a buffer when the command is done, or refused."""
    read, write = os.pipe()
    os.close(read)
    program = f'from nnjax import cli; print("said"); cli.main([{word!r}])'
    done = subprocess.run(
        [sys.executable, '-c', program],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, 'PYTHONUNBUFFERED': ''},
    )
    os.close(write)
    assert done.returncode == code
    assert 'Traceback' not in done.stderr and 'BrokenPipe' not in done.stderr


def test_what_a_run_writes_is_utf8_in_every_locale(tmp_path):
    program = 'from nnjax.training import folder; folder.write(folder.Path("a"), "\\xfc")'
    locale = {'LC_ALL': 'C', 'PYTHONCOERCECLOCALE': '0', 'PYTHONUTF8': '0'}
    environment = {**os.environ, **locale, 'PYTHONPATH': os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, '-c', program], check=True, cwd=tmp_path, env=environment)
    assert [p.name for p in tmp_path.iterdir()] == ['a']
    assert (tmp_path / 'a').read_bytes() == 'ü'.encode()


FILES = {
    'syntax.py': 'def get_config(:\n',
    'nothing.py': 'x = 1\n',
    'raises.py': 'raise RuntimeError("boom")\n',
    'imports.py': 'import not_a_module\n',
    'name.py': 'def get_config(arg=""):\n    c = 1\n    return c + nothing\n',
    'argument.py': 'def get_config():\n    return {}\n',
    'returns.py': 'def get_config(arg=""):\n    return {}\n',
    'bare.py': 'from nnjax.config import base\ndef get_config(arg=""):\n    return base(arg)\n',
    'typo.py': 'from nnjax import models\nfrom nnjax.config import bind\n'
    'def get_config(arg=""):\n    return bind(models.MLP, hiden=(3,))\n',
    'points.py': 'from nnjax.config import load\ndef get_config(arg=""):\n'
    '    return load("digits_mlp")\ndef sweep():\n    yield {"seed": 1 / 0}\n',
    'empty.csv': '',
    'words.npy': 'no array',
    'words.safetensors': 'no array',
    'broken.png': 'no image',
}
# (arguments, words that the line must have). {tmp}: a folder with FILES; {run}: a finished run.
BAD = [
    ('', ['trian'], "did you mean 'train'"),
    ('', ['train'], '--config=... is missing'),
    ('', ['train', '--config=digts_mlp'], "did you mean 'digits_mlp'"),
    ('', ['train', '--config=nowhere/x.py'], 'no experiment file'),
    ('', ['train', '--config={tmp}'], 'is a folder'),
    ('', ['train', '--config=digits_mlp:smok'], "'smoke'"),
    ('', ['train', '--config={tmp}/syntax.py'], 'syntax error in line 1'),
    ('', ['train', '--config={tmp}/nothing.py'], 'no get_config'),
    ('', ['train', '--config={tmp}/raises.py'], 'RuntimeError: boom'),
    ('', ['train', '--config={tmp}/raises.py'], 'raises.py, line 1: '),
    ('', ['train', '--config={tmp}/name.py'], "name.py, line 3: NameError: name 'nothing' is not"),
    ('', ['train', '--config={tmp}/argument.py'], 'get_config must take one argument'),
    ('', ['sweep', '--config={tmp}/points.py'], 'points.py, line 5: ZeroDivisionError'),
    ('', ['train', '--config={tmp}/imports.py'], 'not_a_module'),
    ('', ['train', '--config={tmp}/returns.py'], 'must return a config'),
    ('', ['train', '--config={tmp}/bare.py'], "no section 'data'"),
    ('', ['train', '--config={tmp}/typo.py'], "did you mean 'hidden'"),
    ('', ['train', '--confg=x'], "did you mean '--config'"),
    ('', ['train', SMOKE, 'stray'], 'takes flags only'),
    ('', ['train', '--config.optim.lr=1'], 'needs --config='),
    ('', ['train', SMOKE, '--config.optim.lr'], 'needs a value'),
    ('set', ['optim.lrr=1'], "did you mean 'lr'"),
    ('set', ['optm.lr=1'], "did you mean 'optim'"),
    ('set', ['optim.lr=fast'], 'a number'),
    ('set', ['optim.lr=-1'], '>= 0'),
    ('set', ['optim.lr=nan'], 'a number'),
    ('set', ['optim.lr='], 'a number'),
    ('set', ['optim=sgd'], 'is a section'),
    ('set', ['optim.fn=os.system'], 'fixed by the experiment'),
    ('set', ['optim.name=adm'], "did you mean 'adam"),
    ('set', ['optim.name=apply_updates'], 'unknown optimizer'),
    ('set', ['optim.name=lion', 'optim.momentum=0.9'], 'momentum'),
    ('set', ['optim.decay=cosin'], "did you mean 'cosine'"),
    ('set', ['optim.warmup=5'], 'duration'),
    ('set', ['optim.options.nothing=0.5'], 'nothing'),
    ('set', ['total=ten epochs'], 'duration'),
    ('set', ['total=50%'], 'epochs, steps or examples'),
    ('set', ['seed=1.5'], 'a whole number'),
    ('set', ['seed=-1'], 'in [0, 4294967295]'),
    ('set', ['seed=5000000000'], 'in [0, 4294967295]'),
    ('set', ['batch=0'], '>= 1'),
    ('set', ['batch=64', 'accumulate=3'], 'must divide'),
    ('set', ['precision=fp16'], 'bfloat16'),
    ('set', ['parallel=ddp'], 'pmap'),
    ('set', ['devices=1000'], 'this machine has'),
    ('set', ['best=accuracy'], "'max NAME'"),
    ('set', ['best=max acuracy'], 'no metric'),
    ('set', ['ema=1.0'], 'in [0, 1)'),
    ('set', ['freeze=Dens_0'], 'nearest: Dense_0'),
    ('set', ['freeze=.'], 'nothing would train'),
    ('set', ['freeze=('], 'no regular expression'),
    ('set', ['init_from=nowhere'], 'it does not exist'),
    ('set', ['init_from={tmp}/words.npy'], 'neither a run folder nor a .safetensors file'),
    ('set', ['init_from={tmp}/words.safetensors'], 'is damaged'),
    ('set', ['init_from={run}', 'model.hidden=(16,)'], 'Dense_0/bias is [256] in it, [16] here'),
    ('set', ['init_from={run}', 'model.hidden=(256, 256)'], 'Dense_2/bias is missing in it'),
    ('set', ['init_from={run}', 'init_fresh=Dens_1'], 'nearest: Dense_1'),
    ('set', ['init_fresh=Dense_1'], 'without init_from'),
    ('set', ['smoke=maybe'], 'True or False'),
    ('set', ['model.hidden=64'], 'a tuple'),
    ('set', ['model.hidden=(64, -1)'], 'hidden'),
    ('set', ['model.classes=7'], 'the data has 10 classes'),
    ('set', ['model.activation=rleu'], "did you mean 'relu'"),
    ('set', ['model.dropout=1'], 'in [0, 1)'),
    ('set', ['task.smoothing=1.5'], 'in [0, 1)'),
    ('set', ['task.loss=crossentropy'], "did you mean 'cross_entropy'"),
    ('set', ['task.class_weights=(1.0, 2.0)'], '2'),
    ('set', ['task.label=labels'], 'labels'),
    ('set', ['augment=flop'], "did you mean 'flip'"),
    ('set', ['augment=flip | pad_crop('], 'augment'),
    ('set', ['augment=pad_crop(wide=3)'], 'pad_crop'),
    ('set', ['augment=__import__("os")'], '__import__'),
    ('set', ['augment=mixup', 'batch=15'], 'batch=15 must be a multiple of 2'),
    ('set', ['augment=normalize((0.5, 0.5))'], 'mean has 2 numbers, the images 1 channels'),
    ('set', ['tta=flop'], "tta='flop', column 1: unknown operation"),
    ('set', ['tta=mixup'], 'make no views'),
    ('set', ['tta_views=0'], '>= 1'),
    ('set', ['prepare=scal(16)'], "did you mean 'scale'"),
    ('set', ['data.name=digts'], "did you mean 'digits'"),
    ('set', ['data.name=mnist'], 'tfds build mnist'),
    ('set', ['data.train=trane'], 'train'),
    ('set', ['data.valid=200%'], 'valid'),
    ('', ['train', SMOKE, '--workdir={tmp}/empty.csv'], 'is a file'),
    ('', ['train', SMOKE, '--workdir={tmp}'], 'no run folder'),
    ('', ['train', SMOKE, '--workdir=/proc/run'], '--workdir=/proc/run cannot be created'),
    ('', ['train', '--config=digits_mlp', '--config.optim.lr=0.5', '--workdir={run}'], 'optim.lr'),
    ('', ['evaluate'], '--workdir=... is missing'),
    ('', ['evaluate', '--workdir={tmp}/none'], 'is no run folder'),
    ('', ['evaluate', '--workdir={run}', '--split=tset'], 'tset'),
    ('', ['evaluate', '--workdir={run}', '--checkpoint=newest'], "'best', 'last' or a step"),
    ('', ['evaluate', '--workdir={run}', '--checkpoint=123456'], 'no checkpoint 123456 in'),
    ('', ['evaluate', '--workdir={tmp}'], 'not empty and no run folder (it has no config.json)'),
    (
        '',
        ['evaluate', '--workdir={tmp}/sweep'],
        'is a sweep folder; its best run is {tmp}/sweep/be',
    ),
    ('', ['predict', '--workdir={run}'], 'name what to predict'),
    ('', ['predict', '--workdir={run}', '{tmp}/nothing.png'], 'nothing.png'),
    ('', ['predict', '--workdir={run}', 'a.jsonl', '--text=a=b'], 'a.jsonl and --text: choose'),
    ('', ['predict', '--workdir={run}', '{tmp}/broken.png'], 'broken.png'),
    ('', ['predict', '--workdir={run}', '{tmp}/words.npy'], 'words.npy'),
    ('', ['predict', '--workdir={run}', '{tmp}/empty.csv'], 'empty.csv'),
    ('', ['predict', '--workdir={run}', '{tmp}/shape.npy'], 'shape'),
    ('', ['predict', '--workdir={run}', '{tmp}/shape.npy', '--output=x.xml'], '.csv, .jsonl, .txt'),
    ('', ['cost', '--config=nothing'], 'no experiment file'),
    ('', ['data', 'shw'], "did you mean 'show'"),
    ('', ['data', 'prepare'], 'name one data set'),
    ('', ['data', 'prepare', 'digts'], "did you mean 'digits'"),
    ('', ['data', 'show', SMOKE, '--output=x.gif'], '.png'),
]


@pytest.fixture(scope='module')
def bad_files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('bad')
    for name, text in FILES.items():
        (folder / name).write_text(text)
    (folder / 'sweep').mkdir()
    (folder / 'sweep' / 'sweep.json').write_text('{}')
    np.save(folder / 'shape.npy', np.zeros((3, 5, 5, 1), np.uint8))
    return folder


@pytest.mark.parametrize('kind, argv, words', BAD, ids=[' '.join(argv) for _, argv, _ in BAD])
def test_a_mistake_is_one_line(
    kind, argv, words, capsys, tmp_path, bad_files, run_folder, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    if kind == 'set':
        argv = ['train', SMOKE, '--workdir=new', *(f'--config.{a}' for a in argv)]
    argv = [a.replace('{tmp}', str(bad_files)).replace('{run}', str(run_folder)) for a in argv]
    code, _, err = nnjax(capsys, *argv)
    lines = [line for line in err.splitlines() if line.strip()]
    assert code == 2
    assert len(lines) == 1 and lines[0].startswith('nnjax: '), err
    assert words.replace('{tmp}', str(bad_files)) in lines[0]
    assert not list(tmp_path.iterdir())  # no run folder left behind


def test_the_table_is_long_enough():
    assert len(BAD) >= 60


def test_a_missing_extra_is_one_line(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'tensorboardX', None)
    code, _, err = nnjax(capsys, 'train', SMOKE, '--tensorboard', f'--workdir={tmp_path / "run"}')
    assert code == 2 and "pip install 'nnjax[tensorboard]'" in err and len(err.splitlines()) == 1
    assert not (tmp_path / 'run').exists()


def test_tensorboard_events(capsys, tmp_path):
    pytest.importorskip('tensorboardX')
    code, _, _ = nnjax(capsys, 'train', SMOKE, '--tensorboard', f'--workdir={tmp_path / "run"}')
    assert code == 0 and list((tmp_path / 'run').rglob('events.*'))


def test_tensorflow_is_never_imported():
    code = (
        'import sys\nfrom nnjax import cli\n'
        'try: cli.main(["train", "--config=digits_mlp:smoke", "--quiet"])\n'
        'except SystemExit as stop: assert stop.code == 0\n'
        'assert not any(name.split(".")[0] == "tensorflow" for name in sys.modules)'
    )
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, '-c', code], check=True, cwd=folder, env=dict(os.environ))
