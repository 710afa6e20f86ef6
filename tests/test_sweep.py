"""A lane is its solo run, however many are side by side; what happens to one touches no other."""

import functools
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
import types
from importlib import metadata

import jax
import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from test_optim import NAMES
from test_train import config, difference, same, timeless

import nnjax
from nnjax import config as configs
from nnjax import models
from nnjax import sweep as sweeps
from nnjax.cli import run as command
from nnjax.config import bind
from nnjax.errors import Interrupted, UserError
from nnjax.sweep import lanes, plan, records, rungs, shares
from nnjax.sweep.programs import Programs
from nnjax.sweep.sweep import sweep
from nnjax.training import loop, optim, parallel, setup
from nnjax.training.folder import RunFolder


def driven(c, points, each=1, devices=1):
    """Points of one program, trained to the end."""
    points = plan.check(c, points)
    (group,) = plan.groups(c, points)
    made = setup.setup(group.config)
    numbers = [plan.hyperparameters(c, point, made) for point in points]
    run, records = Programs(parallel.spread(devices)), []
    indices = list(range(len(points)))
    found = lanes.Lanes(made, run, points, numbers, indices, each, None, records.extend)
    loop.drive(found, made.total, str)
    found.finish()
    return found, records


def solo(c, point):
    return nnjax.train(plan.apply(c, point))


USUAL = ('sgd', 'adam', 'adamw', 'rmsprop', 'lion', 'lamb', 'muon', 'adafactor')
QUICK = {**dict.fromkeys(USUAL, pytest.mark.slow), 'sgd': [], 'adafactor': []}  # others are heavy
RATES = {'sgd': 0.1, 'lion': 0.001, 'adagrad': 0.05}


@pytest.mark.slow
@pytest.mark.parametrize(
    'name, each',
    [('adamw', 1)] + [pytest.param(n, 2, marks=QUICK.get(n, pytest.mark.heavy)) for n in NAMES],
)
def test_a_lane_is_its_solo_run(name, each):
    """Parameters after more than an epoch, with every optimizer; augmented, dropped out, decayed."""
    c = config(
        total='45 steps',
        eval_every='45 steps',
        log_every='45 steps',
        optim=bind(optim.make, name=name, lr=RATES.get(name, 0.01), decay='cosine', clip=1.0),
    )
    points = [
        {'optim.lr': c.optim.lr, 'task.smoothing': 0.0, 'seed': 0},
        {'optim.lr': c.optim.lr / 3, 'task.smoothing': 0.1, 'seed': 7},
    ]
    found, _ = driven(c, points, each)
    alone = solo(c, points[1]).state
    mine = jax.tree.map(lambda x: x[1], found.whole()['carry'].state.params)
    assert difference(mine, alone.params) < 1e-5


@pytest.mark.slow
def test_lanes_over_eight_devices_are_the_lanes_of_one():
    points = sweeps.seeds(sweeps.product({'optim.lr': [0.01, 0.003, 0.03]}), 4)
    one, first = driven(config(), points)
    eight, second = driven(config(), points, devices=8)
    assert difference(one.whole()['carry'].state.params, eight.whole()['carry'].state.params) < 1e-6
    assert [r['accuracy'] for r in first if r.get('finished')] == pytest.approx(
        [r['accuracy'] for r in second if r.get('finished')], abs=1e-6
    )


@pytest.mark.slow
def test_streamed_lanes_are_the_resident_ones(monkeypatch):
    points = sweeps.seeds(sweeps.product({'optim.lr': [0.01, 0.003]}), 2)
    resident, _ = driven(config(), points)
    monkeypatch.setattr(setup, 'RESIDENT_BYTES', 0)
    streamed, _ = driven(config(), points)
    a, b = (x.whole()['carry'].state.params for x in (resident, streamed))
    assert difference(a, b) < 1e-6


def test_numbers_and_seeds_are_one_program_and_one_compilation():
    axes = {'optim.lr': [0.01, 0.003], 'task.smoothing': [0.0, 0.1], 'optim.warmup': ['2%', '9%']}
    result = sweep(config(), sweeps.seeds(sweeps.product(axes), 2))
    assert len(result.points) == 16 and result.compilations == 1
    assert all(row.state == 'finished' and len(row.lanes) == 2 for row in result.rows)


def test_what_makes_another_program_makes_another_group():
    c = config()
    axes = {'model.hidden': [(16,), (8,)], 'optim.lr': [0.01, 0.003], 'optim.clip': [None, 1.0]}
    points = plan.check(c, sweeps.product(axes))
    groups = plan.groups(c, points)
    assert len(groups) == 4 and set(groups[0].static) == {'model.hidden', 'optim.clip'}
    assert sorted(n for group in groups for n in group.numbers) == list(range(8))
    for group in groups:
        values = {(points[n]['model.hidden'], points[n]['optim.clip']) for n in group.numbers}
        assert len(values) == 1


@pytest.mark.slow
def test_records_are_those_of_solo_runs(tmp_path):
    c = config()
    points = [{'optim.lr': 0.01, 'seed': 1}, {'optim.lr': 0.003, 'seed': 2}]
    result = sweep(c, points, tmp_path / 'w', experiment='digits_mlp')
    for number, point in enumerate(points):
        mine = [r for r in result.records if r['point'] == number]
        alone = solo(c, point).records
        assert [(r['split'], r['step']) for r in mine] == [(r['split'], r['step']) for r in alone]
        for own, other in zip(timeless(mine), timeless(alone)):
            assert {n: own[n] for n in other} == pytest.approx(other, abs=1e-4)
    assert json.loads(json.dumps(result.records)) == [
        json.loads(line) for line in (tmp_path / 'w' / 'metrics.jsonl').read_text().splitlines()
    ]


def test_the_winner_is_a_run_folder(tmp_path, capsys):
    c = config(best='max accuracy')
    result = sweep(c, sweeps.product({'optim.lr': [1e-5, 0.01]}), tmp_path / 'w')
    assert result.rows[0].changes == {'optim.lr': 0.01}
    folder = RunFolder(tmp_path / 'w' / 'best')
    assert folder.config()[1].optim.lr == 0.01
    command(['evaluate', f'--workdir={folder.path}'])
    scores = json.loads(capsys.readouterr().out)
    (final,) = [r for r in result.records if r['point'] == 1 and r.get('finished')]
    assert scores['accuracy'] == pytest.approx(final['accuracy'], abs=1e-6)
    again = nnjax.train(folder.config()[1], folder.path)  # it is finished: nothing is trained
    assert again.state is None and again.metrics['accuracy'] == pytest.approx(final['accuracy'])


def test_the_winners_predictions_are_made_with_its_own_numbers(tmp_path):
    """Not with those of the first point of its program."""
    points = sweeps.product({'task.smoothing': [0.9, 0.0]})
    result = sweep(config(), points, tmp_path / 'w')
    assert result.rows[0].changes == {'task.smoothing': 0.0}
    (final,) = [r for r in result.records if r['point'] == 1 and r.get('finished')]
    with np.load(tmp_path / 'w' / 'best' / 'predictions' / 'test.npz') as file:
        assert file['loss'].mean() == pytest.approx(final['loss'], rel=1e-5)


def test_a_lane_that_diverges_ends_alone():
    points = [{'optim.lr': 0.01}, {'optim.lr': 1e30}, {'optim.lr': 0.003}]
    c = config(optim__name='sgd', optim__weight_decay=0.0)
    result = sweep(c, points)
    ends = [
        max((r for r in result.records if r['point'] == p), key=lambda r: r['step'])
        for p in range(3)
    ]
    assert ends[1]['diverged'] and not any(
        r['step'] > ends[1]['step'] for r in result.records if r['point'] == 1
    )
    assert result.rows[-1].state == 'diverged'
    rest = sweep(c, [points[0], points[2]])
    both = lambda r: {n: v for n, v in r.items() if n != 'point'}
    kept = [both(r) for r in timeless(result.records) if r['point'] != 1]
    assert kept == [both(r) for r in timeless(rest.records)]


def test_all_lanes_diverge():
    result = sweep(config(optim__name='sgd', optim__weight_decay=0.0), [{'optim.lr': 1e30}])
    assert [row.state for row in result.rows] == ['diverged']


def test_patience_ends_a_lane_and_keeps_its_best(tmp_path):
    c = config(total='60 steps', patience='12 steps', best='max accuracy')
    points = [{'optim.lr': 0.01}, {'optim.lr': 1e-7}]
    result = sweep(c, points, tmp_path / 'w')
    ends = {r['point']: r for r in result.records if r.get('finished')}
    assert ends[1]['step'] < 60 and ends[0]['step'] > ends[1]['step']
    for number, point in enumerate(points):
        alone = solo(c, point).records[-1]
        assert ends[number]['step'] == alone['step']
        assert ends[number]['accuracy'] == pytest.approx(alone['accuracy'], abs=1e-6)


def test_lanes_are_scored_as_solo_runs_are(tmp_path):
    c = config(total='24 steps', eval_every='6 steps', score_every='12 steps', best='max macro_f1')
    points = [{'optim.lr': 0.01}, {'optim.lr': 0.001}]
    result = sweep(c, points, tmp_path / 'w')
    for number, point in enumerate(points):
        alone = [r for r in solo(c, point).records if r['split'] == 'valid']
        mine = [r for r in result.records if r['split'] == 'valid' and r['point'] == number]
        assert [r['step'] for r in mine if 'macro_f1' in r] == [12, 24]
        assert [r.get('macro_f1') for r in mine] == pytest.approx(
            [r.get('macro_f1') for r in alone], abs=1e-6
        )


def test_patience_waits_for_a_score_as_a_solo_run_does():
    """Between two scorings nothing is known of what marks the best."""
    c = config(
        total='48 steps',
        eval_every='4 steps',
        score_every='12 steps',
        best='max macro_f1',
        patience='8 steps',
    )
    points = [{'optim.lr': 0.01}, {'optim.lr': 1e-7}]
    result = sweep(c, points)
    ends = {r['point']: r for r in result.records if r.get('finished')}
    for number, point in enumerate(points):
        alone = solo(c, point).records[-1]
        for name in ('step', 'best_step'):
            assert ends[number][name] == alone[name]
    assert 12 < ends[1]['step'] < 48


@pytest.mark.slow
def test_halving_drops_the_worse_at_each_rung():
    c = config(total='48 steps', eval_every='4 steps')
    axes = {'optim.lr': [10.0**-n for n in (1, 2, 3, 4, 5, 6, 7, 8, 9)]}
    result = sweep(c, sweeps.product(axes), halving=rungs.Halving(3, '4 steps'))
    dropped = {}
    for record in result.records:
        if record.get('dropped'):
            dropped.setdefault(record['step'], []).append(record)
    assert {step: len(those) for step, those in dropped.items()} == {4: 6, 12: 2}
    for step, those in dropped.items():
        valid = [r for r in result.records if r['split'] == 'valid' and r['step'] == step]
        gone = {r['point'] for r in those}
        kept = [r['loss'] for r in valid if r['point'] not in gone]
        assert max(kept) <= min(r['loss'] for r in those)
    assert [row.state for row in result.rows].count('finished') == 1


@pytest.mark.parametrize('how', ['halving', 'population'])
def test_lanes_are_not_ranked_by_a_score_that_was_not_measured(how):
    more = {'halving': rungs.Halving(2, '6 steps'), 'population': rungs.Population('6 steps', 0.5)}
    c = config(eval_every='6 steps', score_every='12 steps', best='max macro_f1')
    axes = {'optim.lr': [1e-7, 0.01]}
    result = sweep(c, sweeps.product(axes), **{how: more[how]})
    acted = {(r['point'], r['step']) for r in result.records if {'dropped', 'changed'} & set(r)}
    assert min(acted) == (0, 12) and not any(step == 6 for _, step in acted)


@pytest.mark.slow
def test_halving_compares_programs_too():
    axes = {'model.hidden': [(16,), (8,)], 'optim.lr': [0.01, 1e-6]}
    c = config(total='24 steps')
    result = sweep(c, sweeps.product(axes), halving=rungs.Halving(2, '6 steps'))
    states = [row.state for row in result.rows]
    assert states.count('finished') == 1 and result.rows[0].changes['optim.lr'] == 0.01


def test_a_population_copies_the_better_with_changed_numbers():
    c = config(total='24 steps', eval_every='6 steps')
    axes = {'optim.lr': [1e-6, 0.01, 0.02, 1e-7]}
    result = sweep(c, sweeps.product(axes), population=rungs.Population('6 steps', part=0.5))
    copies = [r for r in result.records if 'copied_from' in r]
    first = [r for r in copies if r['step'] == 6]
    assert {r['point'] for r in first} == {0, 3} and {r['copied_from'] for r in first} <= {1, 2}
    for record in first:
        source = axes['optim.lr'][record['copied_from']]
        ratio = record['changed']['optim.lr'] / source
        assert ratio == pytest.approx(0.8) or ratio == pytest.approx(1.25)
    last = {r['point']: r['loss'] for r in result.records if r.get('finished')}
    alone = {n: solo(c, {'optim.lr': lr}).metrics['loss'] for n, lr in enumerate(axes['optim.lr'])}
    assert last[0] < alone[0] and last[3] < alone[3]


def test_a_population_exchanges_where_nothing_else_is_validated():
    c = config(total='12 steps', eval_every='7 steps')
    points = sweeps.product({'optim.lr': [1e-6, 0.01]})
    result = sweep(c, points, population=rungs.Population('5 steps', part=0.5))
    copies = [(r['step'], r['point']) for r in result.records if 'copied_from' in r]
    assert copies[0] == (5, 0) and [step for step, _ in copies] == [5, 10]


def test_progress_names_a_lane_by_the_numbers_that_it_trains_with():
    said = []
    log = records.Log(None, ('min', 'loss'), [{'optim.lr': 1e-6}], said.append)
    valid = {'point': 0, 'split': 'valid', 'step': 5, 'seconds': 1.0, 'loss': 1.0}
    for more in ({}, {'copied_from': 0, 'changed': {'optim.lr': 0.008}}, {'step': 10}):
        log.write([{**valid, **more}])
    assert [line.split()[-1] for line in said] == ['optim.lr=1e-06', 'optim.lr=0.008']


@pytest.mark.slow
def test_what_a_population_ends_with_is_what_the_table_and_the_winner_say(tmp_path):
    """Numbers stay in their fields' ranges; a length of training stays one, and of whole steps."""
    c = config(total='16 steps', eval_every='4 steps', best='max accuracy')
    point = {'optim.b1': 0.95, 'optim.warmup': '25%', 'total': '16 steps'}
    points = [{**point, 'optim.lr': lr, 'seed': seed} for lr in (1e-7, 0.01) for seed in (0, 1)]
    result = sweep(c, points, tmp_path / 'w', population=rungs.Population('4 steps', part=0.5))
    copies = [r for r in result.records if 'copied_from' in r]
    for record in copies:
        assert record['changed'].keys() == {'optim.b1', 'optim.warmup', 'optim.lr'}
        assert record['changed']['optim.b1'] < 1
    last = {r['point']: r['changed'] for r in copies}
    assert {0, 1} <= last.keys()
    for row in result.rows:
        for lane in row.lanes:
            whole = {**points[lane.index], **last.get(lane.index, {})}
            assert row.changes == {n: v for n, v in whole.items() if n != 'seed'}
        assert len(row.lanes) == 1 or not last.keys() & {lane.index for lane in row.lanes}
    saved = RunFolder(tmp_path / 'w' / 'best').config()[1]
    assert {**result.rows[0].changes, 'seed': saved.seed} == {
        path: value for path, value in configs.leaves(saved) if path in points[0]
    }
    winner = result.rows[0].lanes[0]
    (final,) = [r for r in result.records if r['point'] == winner.index and r.get('finished')]
    with np.load(tmp_path / 'w' / 'best' / 'predictions' / 'test.npz') as file:
        assert winner.changed and file['loss'].mean() == pytest.approx(final['loss'], rel=1e-5)


@pytest.mark.parametrize(
    'kind', ['plain', *(pytest.param(k, marks=pytest.mark.slow) for k in ('halving', 'population'))]
)
def test_an_interrupted_sweep_ends_as_an_uninterrupted_one(tmp_path, monkeypatch, kind):
    more = {
        'plain': {},
        'halving': {'halving': rungs.Halving(2, '6 steps')},
        'population': {'population': rungs.Population('6 steps')},
    }[kind]
    c = config(total='36 steps')
    points = sweeps.seeds(sweeps.product({'optim.lr': [0.01, 0.003, 1e-4, 0.02]}), 2)
    whole = sweep(c, points, tmp_path / 'a', **more)
    monkeypatch.setattr(lanes, 'SAVE_SECONDS', 0)
    original = lanes.Lanes.advance
    stops = iter([3, 2, 4, 10**6])
    left = [next(stops)]

    def advance(self, until):
        if left[0] == 0:
            left[0] = next(stops)
            raise Interrupted('now')
        left[0] -= 1
        original(self, until)

    monkeypatch.setattr(lanes.Lanes, 'advance', advance)
    for _ in range(3):
        with pytest.raises(Interrupted):
            sweep(c, points, tmp_path / 'b', **more)
    resumed = sweep(c, points, tmp_path / 'b', **more)
    order = lambda r: (r['point'], r['step'], r['split'], 'dropped' in r)
    assert sorted(timeless(resumed.records), key=order) == sorted(
        timeless(json.loads(json.dumps(whole.records))), key=order
    )
    a, b = (nnjax.training.checkpoint.read(tmp_path / n / 'best' / 'checkpoints') for n in 'ab')
    assert same(a, b)


KILLED = """
import os, sys
import jax
jax.config.update('jax_compilation_cache_dir', os.environ['NNJAX_CACHE_DIR'] + '/xla')
from nnjax.sweep import lanes, product, seeds
from nnjax.sweep.sweep import sweep
sys.path.insert(0, 'tests')
from test_train import config
lanes.SAVE_SECONDS = 0
sweep(config(total='400 steps', save_every='10 steps', eval_every='50 steps'),
      seeds(product({'optim.lr': [0.01, 0.003]}), 2), sys.argv[1])
"""


def saved(folder) -> int:
    """The step of a folder's last checkpoint, 0 before the first."""
    return max([int(p.name) for p in folder.glob('*') if p.name.isdigit()], default=0)


@pytest.mark.slow
def test_a_killed_sweep_loses_nothing(tmp_path, root):
    """SIGKILL at random moments; the same command ends bitwise where it would have."""
    environment = {**os.environ, 'PYTHONPATH': str(root)}
    start = functools.partial(subprocess.Popen, env=environment, cwd=root)
    assert start([sys.executable, '-c', KILLED, str(tmp_path / 'a')]).wait() == 0
    rng, kills = random.Random(0), 0
    while True:
        process = start([sys.executable, '-c', KILLED, str(tmp_path / 'b')])
        if kills < 4:
            before, have = (
                time.monotonic(),
                functools.partial(saved, tmp_path / 'b' / 'groups' / '0'),
            )
            aim = have() + 10
            while have() < aim and process.poll() is None and time.monotonic() - before < 60:
                time.sleep(0.002)
            time.sleep(rng.random() * 0.1)
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
                kills += 1
        if process.wait() == 0:
            break
    assert kills >= 3
    read = lambda n: [
        json.loads(x) for x in (tmp_path / n / 'metrics.jsonl').read_text().splitlines()
    ]
    order = lambda r: (r['point'], r['step'], r['split'])
    assert sorted(timeless(read('a')), key=order) == sorted(timeless(read('b')), key=order)
    a, b = (nnjax.training.checkpoint.read(tmp_path / n / 'best' / 'checkpoints') for n in 'ab')
    assert same(a, b)


def test_a_finished_sweep_trains_nothing(tmp_path):
    c, points = config(), [{'optim.lr': 0.01}, {'optim.lr': 0.02}]
    first = sweep(c, points, tmp_path)
    again = sweep(c, points, tmp_path)
    assert again.compilations == 0 and again.records == json.loads(json.dumps(first.records))


def test_waves_follow_the_memory(monkeypatch):
    from nnjax.sweep import width

    points = sweeps.product({'optim.lr': [0.01, 0.02, 0.03, 0.04, 0.05]})
    whole = sweep(config(), points)
    monkeypatch.setattr(width, '_fitting', lambda made, devices: 2)
    split = sweep(config(), points)
    order = lambda r: (r['point'], r['step'], r['split'])
    assert sorted(timeless(split.records), key=order) == sorted(timeless(whole.records), key=order)
    with pytest.raises(UserError, match='only 2 of 5 fit'):
        sweep(config(), points, halving=rungs.Halving())


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(1, 3))
def test_combinators_count(lengths, seeds):
    axes = {f'optim.x{n}': list(range(length)) for n, length in enumerate(lengths)}
    points = sweeps.seeds(sweeps.product(axes), seeds)
    assert len(points) == math.prod(lengths) * seeds
    assert len({json.dumps(p, sort_keys=True) for p in points}) == len(points)
    assert sweeps.product(axes) == sweeps.product(*({p: v} for p, v in axes.items()))


def test_zip_chain_and_random():
    assert sweeps.zip_({'a': [1, 2], 'b': [3, 4]}) == [{'a': 1, 'b': 3}, {'a': 2, 'b': 4}]
    assert sweeps.chain([{'a': 1}], [{'b': 2}]) == [{'a': 1}, {'b': 2}]
    axes = {'optim.lr': sweeps.log(1e-4, 1e-1), 'n': sweeps.integer(1, 4), 'c': ['x', 'y']}
    points = sweeps.random(axes, 64)
    assert points[:16] == sweeps.random(axes, 16) and points != sweeps.random(axes, 64, seed=1)
    rates = np.log10([p['optim.lr'] for p in points])
    assert -4 <= rates.min() < -3.9 and -1.1 < rates.max() <= -1
    counts = np.histogram(rates, bins=8, range=(-4, -1))[0]
    assert counts.min() >= 6  # even: 8 expected in each eighth
    assert {p['n'] for p in points} == {1, 2, 3, 4} and {p['c'] for p in points} == {'x', 'y'}


BAD = {
    'unknown field': (['--grid', 'optim.lrr=0.1'], "unknown config field 'optim.lrr'"),
    'no value': (['--grid', 'optim.lr='], 'expected FIELD=VALUE'),
    'a wrong value': (['--grid', 'optim.lr=fast'], 'optim.lr='),
    'outside the range': (['--grid', 'task.smoothing=2.0'], 'task.smoothing'),
    'the same point twice': (['--grid', 'optim.lr=0.1,0.1'], 'are the same'),
    'random without points': (['--random', 'optim.lr=log(1e-4,1e-1)'], '--points'),
    'points without random': (['--points', '3'], '--random'),
    'a distribution cut short': (
        ['--random', 'optim.lr=log(1e-4', '--points', '2'],
        'log(low, high)',
    ),
    'limits the wrong way round': (
        ['--random', 'optim.lr=log(1e-1,1e-4)', '--points', '2'],
        'must be less',
    ),
    'static in one program': (
        ['--grid', 'model.hidden=(8,),(9,)', '--runner', 'lanes'],
        'model.hidden is part of the program',
    ),
    'two ways of ending lanes': (
        ['--seeds', '4', '--halving', '2', '--population', '10%'],
        'choose one',
    ),
    'no such runner': (['--seeds', '2', '--runner', 'fast'], 'runner'),
    'all devices for each point': (
        ['--seeds', '2', '--config.parallel=pmap'],
        "parallel='pmap'",
    ),
}


@pytest.mark.parametrize('case', BAD)
def test_a_mistake_is_one_line_before_anything_runs(case, tmp_path):
    arguments, expected = BAD[case]
    with pytest.raises(UserError) as caught:
        command(['sweep', '--config=digits_mlp', f'--workdir={tmp_path}/w', *arguments])
    assert expected in str(caught.value) and '\n' not in str(caught.value)
    assert not (tmp_path / 'w').exists()


def test_nothing_to_sweep(tmp_path):
    with pytest.raises(UserError, match=r'has no sweep\(\) function; give --grid'):
        command(['sweep', '--config=fashion_mlp', f'--workdir={tmp_path}/w'])


def test_a_folder_of_another_sweep_is_refused(tmp_path):
    c = config()
    sweep(c, [{'optim.lr': 0.01}], tmp_path)
    with pytest.raises(UserError, match='another sweep'):
        sweep(c, [{'optim.lr': 0.02}], tmp_path)
    with pytest.raises(UserError, match='another config'):
        sweep(config(batch=16), [{'optim.lr': 0.01}], tmp_path)


def test_too_little_memory_for_one_lane(monkeypatch):
    from nnjax.sweep import width

    monkeypatch.setattr(width, '_room', lambda: (1000, 'this machine'))
    with pytest.raises(UserError, match='a lane needs'):
        sweep(config(), [{'optim.lr': 0.01}])


def test_a_machine_without_linux_has_memory_and_cores(tmp_path, monkeypatch):
    from nnjax.ops.native import library
    from nnjax.sweep import width

    monkeypatch.delattr(os, 'sched_getaffinity')
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    assert library.threads() == os.cpu_count()
    told, _ = width._room()
    monkeypatch.setattr(width, 'MEMINFO', tmp_path / 'absent')
    every, where = width._room()
    assert every >= told > 0 and where == 'this machine'


@pytest.mark.slow
def test_a_convolution_net_sweeps_without_kernels_too(monkeypatch, kernels):
    c = config(
        total='3 steps',
        model=bind(models.CNN, channels=(4,), classes=10),
        prepare='scale(16)',
        augment='',
    )
    points = sweeps.product({'optim.lr': [0.01, 0.02]})
    found, _ = driven(c, points)
    alone = solo(c, points[1]).state.params
    mine = jax.tree.map(lambda x: x[1], found.whole()['carry'].state.params)
    assert difference(mine, alone) < 1e-5


def test_halving_keeps_a_configuration_with_all_its_seeds():
    points = sweeps.seeds(sweeps.product({'optim.lr': [0.01, 0.02, 1e-6, 1e-7]}), 3)
    result = sweep(config(), points, halving=rungs.Halving(2, '6 steps'))
    assert [row.state for row in result.rows] == ['finished', 'dropped', 'dropped', 'dropped']
    assert all(len({lane.state for lane in row.lanes}) == 1 for row in result.rows)


@pytest.mark.slow
def test_processes_end_as_lanes_do(tmp_path, capsys):
    arguments = ['--config=digits_mlp', '--config.total=2 epochs', '--seeds=2', '--quiet']
    arguments += ['--grid=optim.lr=0.001,0.01,0.003']
    command(['sweep', *arguments, f'--workdir={tmp_path}/a', '--runner=loop'])
    command(['sweep', *arguments, f'--workdir={tmp_path}/b', '--runner=processes', '--workers=2'])
    read = lambda n: [
        json.loads(x) for x in (tmp_path / n / 'metrics.jsonl').read_text().splitlines()
    ]
    order = lambda r: (r['point'], r['step'], r['split'])
    for a, b in zip(sorted(read('a'), key=order), sorted(read('b'), key=order), strict=True):
        assert order(a) == order(b) and a['loss'] == pytest.approx(b['loss'], abs=1e-5)
    best = [RunFolder(tmp_path / n / 'best').config()[1].optim.lr for n in 'ab']
    assert best[0] == best[1]
    before = capsys.readouterr().out
    command(['sweep', '--status', f'--workdir={tmp_path}/b'])
    assert capsys.readouterr().out.splitlines()[1] in before


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), min_size=1, unique=True),
    st.integers(1, 7),
)
def test_shares_are_even_and_keep_seeds_together(pairs, count):
    points = [{'x': x, 'seed': seed} for x, seed in pairs]
    parts = shares.split(points, count)
    assert (
        sorted(n for part in parts for n in part) == list(range(len(points)))
        and len(parts) <= count
    )
    homes = {
        x: {n for n, part in enumerate(parts) for p in part if points[p]['x'] == x}
        for x, _ in pairs
    }
    assert all(len(home) == 1 for home in homes.values())


def test_a_share_that_fails_is_named_with_its_log(tmp_path):
    whole = shares.create(config(), [{'optim.lr': 0.01}], tmp_path / 'w', 'digits_mlp', 1)
    with pytest.raises(UserError, match=r'share 0 failed: .*nothing_of_the_kind.*0\.log'):
        shares.run(whole, 'nothing_of_the_kind', 1, lambda text: None)


def test_workers_share_the_gpus_that_the_user_gave(tmp_path, monkeypatch):
    """And where there are none, nothing is set."""
    whole = shares.create(
        config(), sweeps.product({'optim.lr': [0.1, 0.2, 0.3]}), tmp_path / 'w', 'digits_mlp', 3
    )
    show = [sys.executable, '-c', 'import os; print(os.environ.get("CUDA_VISIBLE_DEVICES"))']
    monkeypatch.setattr(shares, 'command', lambda whole, share, spec: show)
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    for gpus, expected in ((['2', '3'], ['2', '3', '2']), ([], ['None'] * 3)):
        shares.run(whole, '', 3, lambda text: None, gpus)
        logs = [shares.folder(whole, n).with_suffix('.log') for n in range(3)]
        assert [path.read_text().split()[-1] for path in logs] == expected


def test_gpus_are_counted_without_jax(tmp_path, monkeypatch):
    plugins = [metadata.EntryPoint('xla_cuda12', '', 'jax_plugins')]
    monkeypatch.setattr(shares, 'DEVICES', tmp_path)
    monkeypatch.setattr(shares.metadata, 'entry_points', lambda group: plugins)
    settings = types.SimpleNamespace(jax_platforms=None)
    monkeypatch.setattr(shares, 'jax', types.SimpleNamespace(config=settings))
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '0')
    assert shares.gpus() == []
    for name in ('nvidia0', 'nvidia1', 'nvidiactl'):
        (tmp_path / name).touch()
    for visible, expected in (('3, 1', ['3', '1']), ('', []), ('-1', []), (None, ['0', '1'])):
        if visible is None:
            monkeypatch.delenv('CUDA_VISIBLE_DEVICES')
        else:
            monkeypatch.setenv('CUDA_VISIBLE_DEVICES', visible)
        assert shares.gpus() == expected
    settings.jax_platforms = 'cpu'
    assert shares.gpus() == []
    settings.jax_platforms = None
    plugins.clear()  # a JAX for CPUs
    assert shares.gpus() == []


def test_a_signal_ends_the_processes_too(tmp_path, monkeypatch):
    whole = shares.create(config(), [{'optim.lr': 0.01}], tmp_path / 'w', 'digits_mlp', 1)
    sleep = [sys.executable, '-c', 'import time; time.sleep(60)']
    monkeypatch.setattr(shares, 'command', lambda whole, share, spec: sleep)
    monkeypatch.setattr(shares, 'PATIENCE', 0)
    made, real = [], subprocess.Popen
    monkeypatch.setattr(subprocess, 'Popen', lambda *a, **k: made.append(real(*a, **k)) or made[-1])

    def unnoted(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, unnoted)
    try:
        with pytest.raises(Interrupted, match='stopped by SIGTERM; the same command') as caught:
            shares.run(whole, '', 1, lambda text: os.kill(os.getpid(), signal.SIGTERM))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert caught.value.exit_code == 130
    assert [process.poll() for process in made] == [-signal.SIGTERM]


@pytest.mark.parametrize('name', sorted(p.stem for p in (ROOT / 'experiments').glob('*.py')))
def test_an_experiments_own_sweep_fits_its_config(name):
    module, arg = configs.experiment(name)
    if hasattr(module, 'sweep'):
        points = plan.check(module.get_config(arg), module.sweep())
        assert len(points) > 1
