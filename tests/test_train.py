"""The loop's promises: one compilation, exact resume, the same run however it is split."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

import nnjax
from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.errors import Diverged, Interrupted, UserError
from nnjax.training import evaluate, optim, restore
from nnjax.training.folder import RunFolder
from nnjax.training.setup import setup


def config(**fields):
    """A small run on digits with everything that could go wrong switched on."""
    c = base()
    c.total = '24 steps'
    c.batch = 32
    c.data = bind(sources.Tfds, name='digits')
    c.prepare = 'scale(16)'
    c.augment = 'noise(0.1)'
    c.model = bind(models.MLP, hidden=(16,), dropout=0.2)
    c.task = bind(tasks.classification, smoothing=0.1)
    c.optim = bind(
        optim.make, name='adamw', lr=0.01, decay='cosine', warmup='4 steps', weight_decay=0.01
    )
    c.log_every = '4 steps'
    c.eval_every = '6 steps'
    c.save_every = '4 steps'
    c.keep = 10
    c.parallel = 'jit'
    for path, value in fields.items():
        node = c
        *parents, last = path.split('__')
        for parent in parents:
            node = node[parent]
        with node.ignore_type():
            node[last] = value
    return c


def difference(a, b) -> float:
    """The largest difference of two trees' leaves."""
    leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return max(
        float(np.max(np.abs(np.asarray(x, float) - np.asarray(y, float)))) for x, y in leaves
    )


def same(a, b) -> bool:
    """Whether two trees are bitwise equal."""
    leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(np.asarray(x), np.asarray(y)) for x, y in leaves)


def timeless(records):
    return [
        {n: v for n, v in r.items() if n not in ('seconds', 'step_milliseconds')} for r in records
    ]


class Compilations:
    """Counts what XLA compiles."""

    def __init__(self):
        self.count = 0
        jax.monitoring.register_event_duration_secs_listener(self._note)

    def _note(self, event, seconds, **_):
        self.count += event == '/jax/core/compile/backend_compile_duration'


compilations = Compilations()


def test_eight_settings_of_every_number_compile_once():
    nnjax.train(config(task__class_weights=(1.0,) * 10))
    before = compilations.count
    for number in range(8):
        nnjax.train(
            config(
                optim__lr=0.001 * (number + 1),
                optim__weight_decay=0.01 * number,
                task__smoothing=0.05 * number,
                task__class_weights=tuple(1.0 + 0.1 * number * c for c in range(10)),
                optim__warmup=f'{number} steps',
                total=f'{20 + number} steps',
                seed=number,
            )
        )
    assert compilations.count == before


def test_settings_do_change_the_run():
    first = nnjax.train(config())
    for field, value in {
        'optim__lr': 0.02,
        'optim__weight_decay': 0.5,
        'task__smoothing': 0.3,
        'task__class_weights': (3.0,) + (1.0,) * 9,
        'optim__warmup': '9 steps',
        'seed': 1,
    }.items():
        assert (
            difference(first.state.params, nnjax.train(config(**{field: value})).state.params)
            > 1e-5
        )


@pytest.mark.parametrize(
    'parallel, devices, batch',
    [
        ('pmap', 2, 30),
        ('fsdp', 8, 30),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ('pmap', 2, 32),
                ('pmap', 8, 30),
                ('pmap', 8, 32),
                ('fsdp', 2, 30),
                ('fsdp', 2, 32),
                ('fsdp', 8, 32),
            )
        ),
    ],
)
def test_devices_do_not_change_the_run(parallel, devices, batch):
    one = nnjax.train(config(batch=batch))
    many = nnjax.train(config(batch=batch, parallel=parallel, devices=devices))
    assert difference(one.state.params, many.state.params) < 2e-6
    for a, b in zip(one.records, many.records, strict=True):
        assert a['loss'] == pytest.approx(b['loss'], rel=1e-5)
        assert a['accuracy'] == b['accuracy']


def test_fsdp_shards_parameters_and_optimizer_state():
    state = nnjax.train(config(parallel='fsdp', devices=8)).state
    kernel = state.params['Dense_0']['kernel']
    assert kernel.sharding.shard_shape(kernel.shape) == (64 // 8, 16)
    sharded = [x for x in jax.tree.leaves(state.opt_state) if not x.sharding.is_fully_replicated]
    assert len(sharded) >= 2  # Adam's two moments of the kernel


@pytest.mark.slow
def test_accumulation_equals_the_large_batch():
    whole = nnjax.train(config(batch=64))
    parts = nnjax.train(config(batch=64, accumulate=4))
    both = nnjax.train(config(batch=64, accumulate=4, parallel='pmap', devices=2))
    assert difference(whole.state.params, parts.state.params) < 2e-6
    assert difference(whole.state.params, both.state.params) < 2e-6


@pytest.mark.slow
def test_chunks_and_single_steps_give_the_same_numbers(monkeypatch):
    from nnjax.training import runner, setup

    chunked = nnjax.train(config())
    with monkeypatch.context() as patch:
        patch.setattr(runner, 'chunked', lambda made: False)
        stepped = nnjax.train(config())
    with monkeypatch.context() as patch:
        patch.setattr(setup, 'RESIDENT_BYTES', 0)
        streamed = nnjax.train(config())
    assert difference(chunked.state.params, stepped.state.params) < 1e-6
    assert difference(chunked.state.params, streamed.state.params) < 1e-6


def rewound(folder, copy, step):
    """A copy of a finished run folder as it was when `step` was its latest checkpoint."""
    shutil.copytree(folder, copy)
    for path in (copy / 'checkpoints').iterdir():
        if int(path.name) > step:
            shutil.rmtree(path)
    lines = (copy / 'metrics.jsonl').read_text().splitlines(keepends=True)
    cut = lines[-1][: len(lines[-1]) // 2]  # a kill in the middle of a line
    (copy / 'metrics.jsonl').write_text(''.join(lines[:-1]) + cut)


def test_resume_is_bitwise(tmp_path):
    whole = nnjax.train(config(), tmp_path / 'a')
    rewound(tmp_path / 'a', tmp_path / 'b', step=8)
    resumed = nnjax.train(config(), tmp_path / 'b')
    assert same(whole.state, resumed.state)
    assert timeless(whole.records) == timeless(resumed.records)
    assert len(whole.records) == 6 + 4 + 1


def test_a_signal_checkpoints_and_the_same_command_goes_on(tmp_path, monkeypatch):
    from nnjax.training.run import Run

    whole = nnjax.train(config(), tmp_path / 'a')
    evaluate = Run.evaluate

    def and_then_a_signal(run):
        evaluate(run)
        if run.step == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Run, 'evaluate', and_then_a_signal)
        with pytest.raises(Interrupted, match='step 6'):
            nnjax.train(config(), tmp_path / 'b')
    resumed = nnjax.train(config(), tmp_path / 'b')
    assert same(whole.state, resumed.state)
    assert timeless(whole.records) == timeless(resumed.records)


def test_a_finished_run_says_so_and_changes_nothing(tmp_path):
    first = nnjax.train(config(), tmp_path)
    before = (tmp_path / 'metrics.jsonl').read_bytes()
    again = nnjax.train(config(), tmp_path)
    assert again.metrics == pytest.approx(first.metrics)
    assert (tmp_path / 'metrics.jsonl').read_bytes() == before


@pytest.mark.slow
def test_resume_on_other_devices(tmp_path):
    whole = nnjax.train(config(), tmp_path / 'a')
    for mode, devices in (('pmap', 8), ('fsdp', 4)):
        folder = tmp_path / mode
        rewound(tmp_path / 'a', folder, step=12)
        there = nnjax.train(config(parallel=mode, devices=devices), folder, force=True)
        assert difference(whole.state.params, there.state.params) < 2e-6


def test_a_changed_config_is_named_and_refused(tmp_path):
    nnjax.train(config(), tmp_path)
    with pytest.raises(UserError, match=r'optim\.lr: 0\.01 -> 0\.5'):
        nnjax.train(config(optim__lr=0.5), tmp_path)


def test_other_data_is_refused(tmp_path):
    def arrays(shift):
        x = np.arange(80, dtype=np.float32).reshape(80, 1) + shift
        train = {'image': x, 'label': np.arange(80, dtype=np.int32) % 10}
        return config(data=bind(sources.Arrays, train=train), prepare='', augment='')

    nnjax.train(arrays(0), tmp_path)
    (tmp_path / 'metrics.jsonl').unlink()
    with pytest.raises(UserError, match='other data'):
        nnjax.train(arrays(1), tmp_path)


def test_divergence_before_any_step_points_at_the_data():
    train = {'image': np.zeros((80, 1), np.float32), 'label': np.zeros((80, 10), np.float32)}
    with pytest.raises(Diverged, match='labels that are no class'):
        nnjax.train(config(data=bind(sources.Arrays, train=train), prepare='', augment=''))


@pytest.mark.parametrize('label', [10, -1])
def test_a_label_that_is_no_class_is_named_before_training(label):
    train = {'image': np.zeros((80, 1), np.float32), 'label': np.arange(80, dtype=np.int32) % 10}
    train['label'][7] = label
    data = bind(sources.Arrays, train=train, valid=None)
    with pytest.raises(UserError, match=f"train example 7: its 'label' is {label}, .* 0 to 9"):
        nnjax.train(config(data=data, prepare='', augment=''))


def test_another_structure_is_named(tmp_path):
    nnjax.train(config(), tmp_path)
    (tmp_path / 'metrics.jsonl').unlink()
    with pytest.raises(UserError, match='Dense_0'):
        nnjax.train(config(model__hidden=(8,)), tmp_path, force=True)


def test_divergence_names_the_step(tmp_path):
    c = config(optim__name='sgd', optim__lr=1e30, optim__weight_decay=0.0, augment='')
    with pytest.raises(Diverged, match=r'not finite at step [1-4] '):
        nnjax.train(c, tmp_path)


def test_patience_stops_and_the_best_parameters_are_scored(tmp_path):
    c = config(
        total='4000 steps',
        optim__lr=0.0,
        optim__warmup='0 steps',
        augment='',
        model__dropout=0.0,
        patience='12 steps',
    )
    result = nnjax.train(c, tmp_path)
    assert result.state.step == 18  # best at 6, nothing better for 12 steps
    assert result.records[-1]['best_step'] == 6


def test_the_best_checkpoint_is_what_is_tested(tmp_path):
    c = config(best='max accuracy', total='60 steps')
    result = nnjax.train(c, tmp_path)
    valid = {r['step']: r['accuracy'] for r in result.records if r['split'] == 'valid'}
    assert valid[result.records[-1]['best_step']] == max(valid.values())


def test_scores_of_the_validation_split_are_in_its_records_and_mark_the_best(tmp_path):
    c = config(score_every='10 steps', best='max macro_f1')
    whole = nnjax.train(c, tmp_path / 'a')
    valid = {r['step']: r for r in whole.records if r['split'] == 'valid'}
    scored = {step: r['macro_f1'] for step, r in valid.items() if 'macro_f1' in r}
    assert list(valid) == [6, 12, 18, 24]
    assert list(scored) == [
        12,
        24,
    ]  # the first evaluation after 10 and after 20 steps, and the last
    final = whole.records[-1]
    assert scored[final['best_step']] == max(scored.values())
    evaluator = evaluate.Evaluator(setup(c), setup(c).dataset.valid)
    again = evaluate.score(setup(c), evaluator.predictions(whole.state))
    assert again['macro_f1'] == scored[24]
    rewound(tmp_path / 'a', tmp_path / 'b', step=16)
    assert timeless(nnjax.train(c, tmp_path / 'b').records) == timeless(whole.records)


@pytest.mark.parametrize(
    'fields, words',
    [
        ({'score_every': '5 steps', 'best': 'max bleu'}, "no metric 'bleu' (it has: .*macro_f1"),
        ({'best': 'max macro_f1'}, "no metric 'macro_f1' .*scores by score_every"),
        ({'score_every': '5 steps', 'data__valid': None}, 'no validation split'),
    ],
)
def test_a_score_that_is_not_there_is_named(fields, words):
    with pytest.raises(UserError, match=words.replace('(', r'\(')):
        nnjax.train(config(**fields))


def test_the_clock_goes_on_where_it_stopped(tmp_path):
    nnjax.train(config(), tmp_path / 'a')
    rewound(tmp_path / 'a', tmp_path / 'b', step=16)
    folder = RunFolder(tmp_path / 'b')
    folder.rewrite({**record, 'seconds': 1000.0} for record in folder.records())
    assert all(r['seconds'] >= 1000 for r in nnjax.train(config(), tmp_path / 'b').records)


def test_moving_average_is_evaluated_instead_of_the_parameters():
    result = nnjax.train(config(ema=0.9))
    assert difference(result.state.ema, result.state.params) > 1e-4
    assert same(result.state.best_params, result.state.ema)


@pytest.mark.slow
def test_bfloat16_learns_and_keeps_float32_parameters():
    result = nnjax.train(config(precision='bfloat16', total='400 steps'))
    assert {x.dtype for x in jax.tree.leaves(result.state.params)} == {np.dtype('float32')}
    assert result.metrics['accuracy'] > 0.9


def test_test_accuracy_is_exact_over_the_padded_last_batch(tmp_path):
    result = nnjax.train(config(eval_batch=77), tmp_path)  # 360 = 4 * 77 + 52
    saved = np.load(tmp_path / 'predictions' / 'test.npz')
    accuracy = np.mean(saved['probability'].argmax(1) == saved['label'])
    assert len(saved['label']) == 360
    assert result.metrics['accuracy'] == pytest.approx(accuracy, abs=1e-6)
    assert np.array_equal(saved['index'], np.arange(360))


def test_metrics_file_has_one_json_object_a_line(tmp_path):
    result = nnjax.train(config(), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()]
    assert lines == result.records
    train = [r for r in lines if r['split'] == 'train']
    assert [r['step'] for r in train] == [4, 8, 12, 16, 20, 24]
    assert {'loss', 'accuracy', 'lr', 'grad_norm', 'step_milliseconds'} <= set(train[0])


KILLED = """
import os, sys
import tests.conftest  # the compilation cache: a child compiles nothing
import jax, orbax.checkpoint
from tests.test_train import config
import nnjax
for attempt in range(60):
    child = os.fork()  # JAX has no threads yet
    if child == 0:
        nnjax.train(config(total='3000 steps', save_every='20 steps', eval_every='500 steps'),
                    sys.argv[1])
        os._exit(7)
    print(child, flush=True)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7:
        break
"""


@pytest.mark.slow
def test_twenty_kills_lose_nothing(tmp_path, root):
    """SIGKILL at random moments: the folder survives and the end is the uninterrupted run's."""
    c = config(total='3000 steps', save_every='20 steps', eval_every='500 steps')
    whole = nnjax.train(c, tmp_path / 'a')
    environment = {**os.environ, 'PYTHONPATH': str(root)}
    process = subprocess.Popen(
        [sys.executable, '-c', KILLED, str(tmp_path / 'b')],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=root,
    )
    rng, kills, latest = random.Random(0), 0, 0
    for line in process.stdout:
        if kills == 20:
            continue
        checkpoints = tmp_path / 'b' / 'checkpoints'
        deadline = time.monotonic() + 60
        aim = latest + rng.randrange(20, 120)  # a random way past the last checkpoint, then at once
        while time.monotonic() < deadline:
            done = [int(p.name) for p in checkpoints.glob('*') if p.name.isdigit()]
            if max(done, default=0) >= min(aim, 2900):
                break
            time.sleep(0.002)
        time.sleep(rng.random() * 0.05)
        os.kill(int(line), signal.SIGKILL)
        now = max([int(p.name) for p in checkpoints.glob('*') if p.name.isdigit()], default=0)
        assert now >= latest
        latest, kills = now, kills + 1
    assert process.wait() == 0 and kills == 20
    resumed = nnjax.train(c, tmp_path / 'b')
    assert resumed.metrics == pytest.approx(whole.metrics, abs=0)
    assert timeless(resumed.records) == timeless(json.loads(json.dumps(whole.records)))


@pytest.mark.slow
def test_devices_that_do_not_divide_the_batch_change_nothing():
    """The rows that fill it up have no part in batch normalisation either."""
    c = nnjax.load_config(
        'digits_vgg:smoke', {'batch': '8', 'parallel': 'jit', 'model.width': '0.05'}
    )
    c.optim = bind(optim.make, name='sgd', lr=0.01)
    alone = nnjax.train(c)
    c.parallel, c.devices = 'pmap', 3
    many = nnjax.train(c)
    near = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5)
    jax.tree.map(near, alone.state.model_state, many.state.model_state)
    for one, other in zip(alone.records, many.records, strict=True):
        assert one['loss'] == pytest.approx(other['loss'], rel=1e-5)


def test_what_is_forced_is_what_the_folder_says(tmp_path):
    """The new config and statistics take the old ones' place, and a finished run goes on."""
    nnjax.train(config(prepare='scale(16)'), tmp_path)
    assert nnjax.train(config(prepare='scale(16)'), tmp_path, force=True).state is None  # finished
    other = config(total='30 steps', prepare='standardize')
    longer = nnjax.train(other, tmp_path, force=True)
    assert int(longer.state.step) == 30
    made, state = restore.run(str(tmp_path))
    found = evaluate.Evaluator(made, made.dataset.test)(state)
    assert found['loss'] == pytest.approx(longer.metrics['loss'], rel=1e-6)
    assert nnjax.train(other, tmp_path).metrics['loss'] == longer.metrics['loss']
    assert 'scale(16)' in (tmp_path / 'config-24.json').read_text()


@pytest.mark.slow
def test_without_a_number_on_validation_the_last_parameters_count(tmp_path):
    """Validation inputs whose products overflow: no evaluation says which parameters are best."""
    x = np.random.default_rng(0).normal(size=(80, 4)).astype(np.float32)
    good = {'image': x, 'label': (x[:, 0] > 0).astype(np.int32)}
    bad = {**good, 'image': np.full_like(x, np.finfo(np.float32).max)}
    data = bind(sources.Arrays, train=good, valid=bad, test=good)
    c = config(data=data, prepare='', augment='', total='200 steps')
    c.model.classes = 2
    result = nnjax.train(c, tmp_path)
    assert not any(np.isfinite(r['loss']) for r in result.records if r['split'] == 'valid')
    assert result.records[-1]['best_step'] == 200 and result.metrics['accuracy'] > 0.9
    kept = restore.arrays(tmp_path)['params/Dense_0/kernel']
    np.testing.assert_array_equal(kept, result.params['Dense_0']['kernel'])
