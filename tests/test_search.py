"""Optuna chooses, lanes train: same seed, same trials, whatever interrupts; nothing runs twice."""

import json
import os
import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from nnjax import cli
from nnjax import config as configs
from nnjax.errors import UserError
from nnjax.sweep import lanes, log, uniform
from nnjax.sweep.folder import SweepFolder
from nnjax.sweep.points import integer
from nnjax.sweep.search import Search
from tests.conftest import ROOT

optuna = pytest.importorskip('optuna')
pytest.importorskip('cmaes')
from nnjax.sweep.search import samplers, storage, trials  # noqa: E402
from nnjax.sweep.search.run import search  # noqa: E402
from nnjax.sweep.search.study import Study  # noqa: E402

SMALL = {
    'total': '40 steps',
    'eval_every': '10 steps',
    'log_every': '20 steps',
    'model.hidden': '(16,)',
    'model.dropout': '0.0',
    'augment': '',
    'devices': '2',
    'best': 'max accuracy',
}
SPACE = {'optim.lr': log(1e-5, 1.0), 'task.smoothing': uniform(0.0, 0.3)}
STATES = optuna.trial.TrialState


def small(**more):
    return configs.load('digits_mlp', SMALL | more)


def found(folder, study='digits') -> optuna.Study:
    return optuna.load_study(study_name=study, storage=f'sqlite:///{folder}/optuna.db')


def run(how, folder=None, space=SPACE, say=lambda text: None, runner='loop', **more):
    return search(small(**more), space, how, folder, experiment='digits', runner=runner, say=say)


def told(folder) -> list[tuple]:
    """What a study says of its trials, but for times."""
    return [
        (t.number, t.params, t.state.name, t.values, t.intermediate_values)
        for t in found(folder).trials
    ]


# The study alone, on a function.


def study(
    url,
    sampler='tpe',
    seed=0,
    prune='none',
    space=SPACE,
    directions=('min',),
    worker='w',
    alone=False,
):
    terms = {'space': {path: str(axis) for path, axis in space.items()}, 'config': {}}
    return Study(
        url,
        'study',
        worker,
        alone,
        space,
        list(directions),
        terms,
        samplers.sampler(sampler, seed, 4, len(space)),
        samplers.pruner(prune, 1, 2),
    )


def bowl(values) -> list[float]:
    return [(np.log10(values['optim.lr']) + 3) ** 2 + 10 * values['task.smoothing'] ** 2]


def asked(url, sampler, seed=0, batches=4, fresh=False) -> list[dict]:
    here, points = study(url, sampler, seed), []
    for _ in range(batches):
        batch = []
        for _ in range(4):
            here = study(url, sampler, seed) if fresh else here
            batch.append(here.ask(1000))
        for number, values in batch:
            here.tell(number, bowl(values), {})
            points.append(values)
    return points


@pytest.mark.slow
@pytest.mark.parametrize('sampler', ['tpe', 'cmaes', 'random', 'nsga2'])
def test_suggestions_follow_from_the_storage_and_the_seed(sampler, tmp_path):
    """Whichever process asks, and whatever it asked before."""
    once = asked(None, sampler)
    assert asked(f'sqlite:///{tmp_path}/study.db', sampler, fresh=True) == once
    assert asked(None, sampler, seed=1) != once
    for values in once:
        assert 1e-5 <= values['optim.lr'] <= 1 and 0 <= values['task.smoothing'] <= 0.3


@pytest.mark.parametrize('sampler', ['tpe', 'cmaes'])
def test_samplers_learn(sampler):
    """Later suggestions are better than the first, independent ones."""
    points = asked(None, sampler, batches=12)
    scores = [bowl(values)[0] for values in points]
    assert np.median(scores[24:]) < np.median(scores[:8]) / 2


def test_fields_of_any_kind_come_back_as_they_are():
    space = {'a': [(1, 2), (3,), None], 'b': integer(2, 3), 'c': [True, False], 'd': ['x', 'y']}
    here = study(None, 'random', space=space)
    seen = [here.ask(60)[1] for _ in range(40)]
    assert {values['a'] for values in seen} == {(1, 2), (3,), None}
    assert {values['b'] for values in seen} == {2, 3}
    assert {values['c'] for values in seen} == {True, False}


def test_a_study_has_no_more_trials_than_wanted():
    here = study(None)
    numbers = [here.ask(3)[0] for _ in range(3)]
    assert numbers == [0, 1, 2] and here.ask(3) is None and here.count() == 3


@pytest.mark.parametrize('alone', [True, False])
def test_a_killed_ask_is_finished(alone, tmp_path, monkeypatch):
    """A trial with half of its values belongs to its worker, and gets what it would have got."""
    whole = asked(None, 'tpe', batches=4)
    url = f'sqlite:///{tmp_path}/study.db'
    asked(url, 'tpe', batches=3)
    suggest, calls = optuna.Trial.suggest_float, []

    def killed(trial, name, *args, **options):
        calls.append(name)
        if alone or len(calls) > 1:
            raise RuntimeError
        return suggest(trial, name, *args, **options)

    with monkeypatch.context() as patch:
        # Alone, a trial is known even before it has its worker's name.
        patch.setattr(optuna.Trial, 'set_user_attr' if alone else 'suggest_float', killed)
        with pytest.raises(RuntimeError):
            study(url).ask(1000)
    assert study(url, worker='another').mine([]) == []
    assert study(url, alone=alone).mine([]) == [(12, whole[12])]
    assert study(url).ask(1000) == (13, whole[13])


def test_what_a_person_enqueues_is_tried(tmp_path):
    url = f'sqlite:///{tmp_path}/study.db'
    here = study(url)
    theirs = optuna.load_study(study_name='study', storage=url)
    theirs.enqueue_trial({'optim.lr': 0.125})
    number, values = here.ask(1)
    assert number == 0 and values['optim.lr'] == 0.125 and here.ask(1) is None


def test_pruning_decides_once(tmp_path):
    """The worse of lanes side by side goes, and stays gone when a kill makes it run again."""
    url = f'sqlite:///{tmp_path}/study.db'
    here = study(url, prune='halving', directions=['max'])
    numbers = [here.ask(4)[0] for _ in range(4)]
    values = [0.5, 0.1, 0.6, 0.2]
    kept = [here.keeps(number, value, 1) for number, value in zip(numbers, values)]
    assert kept == [True, False, True, False]
    again = study(url, prune='halving', directions=['max'])
    assert [again.keeps(n, v, 1) for n, v in zip(numbers, values)] == kept
    assert again.ended() == {1, 3}


# Searches.


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """An uninterrupted search, and its folder."""
    folder = tmp_path_factory.mktemp('search') / 'whole'
    return run(Search(trials=12, batch=4), folder), folder


@pytest.fixture(scope='module')
def pruned(tmp_path_factory):
    """The same with pruning."""
    folder = tmp_path_factory.mktemp('search') / 'pruned'
    return run(Search(trials=12, batch=4, prune='halving'), folder), folder


@pytest.mark.slow
def test_a_search_finds_a_learning_rate(whole):
    result, _ = whole
    values = sorted((row.valid.mean for row in result.rows), reverse=True)
    assert len(values) == 12 and values[0] > 0.7 and values[0] > values[-3] + 0.3
    assert 1e-3 < result.rows[0].changes['optim.lr'] < 0.3
    assert result.compilations == 1


def test_the_storage_holds_what_the_records_say(whole):
    result, folder = whole
    study = found(folder)
    finals = {r['point']: r for r in result.records if r.get('finished')}
    assert [t.state for t in study.trials] == [STATES.COMPLETE] * 12
    saved = SweepFolder(folder)
    assert saved.points() == result.points and len(saved.records()) == len(result.records)
    for number, (index,) in saved.plan()['trials']:
        trial = study.trials[number]
        assert trial.values == [finals[index]['best_value']]
        assert {**trial.params, 'seed': 0} == result.points[index]
    assert study.best_trial.params == result.rows[0].changes
    assert study.user_attrs['nnjax']['config']['total'] == '40 steps'


def test_the_winner_is_a_run_folder_and_the_losers_leave_no_checkpoints(whole, capsys):
    result, folder = whole
    with pytest.raises(SystemExit):
        cli.main(['evaluate', f'--workdir={folder / "best"}', '--split=valid'])
    scores = json.loads(capsys.readouterr().out)
    assert scores['accuracy'] == pytest.approx(result.rows[0].valid.mean, abs=1e-6)
    assert len(list((folder / 'groups').iterdir())) == 1


def test_a_finished_search_can_be_asked_for_more(whole, tmp_path):
    result, folder = whole
    again = run(Search(trials=12), folder)
    assert again.points == result.points and again.compilations == 0
    part = tmp_path / 'part'
    run(Search(trials=8, batch=4), part)
    assert run(Search(trials=12, batch=4), part).points == result.points
    assert told(part) == told(folder)


class Killed(BaseException):
    """What nothing catches."""


@pytest.mark.parametrize(
    ('prune', 'line'),
    [
        ('none', 8),
        ('halving', 9),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (('none', 1), ('halving', 2), ('halving', 13))
        ),
    ],
)
def test_a_killed_search_goes_on_with_the_same_trials(
    prune, line, whole, pruned, tmp_path, monkeypatch
):
    """Killed after so many lines: asked, validated, scored, asked again ..."""
    how, folder = Search(trials=12, batch=4, prune=prune), tmp_path / 'killed'
    lines = iter(range(1, 1000))

    def say(text):
        if next(lines) == line:
            raise Killed

    if line % 2:
        monkeypatch.setattr(lanes, 'SAVE_SECONDS', 0)  # goes on from a checkpoint
    with pytest.raises(Killed):
        run(how, folder, say=say)
    run(how, folder)
    assert told(folder) == told((whole if prune == 'none' else pruned)[1])


@pytest.mark.slow
def test_a_kill_between_two_tells(whole, tmp_path, monkeypatch):
    how, folder = Search(trials=12, batch=4), tmp_path / 'killed'
    tell, count = Study.tell, iter(range(100))

    def killed(*args):
        if next(count) == 6:
            raise Killed
        tell(*args)

    with monkeypatch.context() as patch:
        patch.setattr(trials.Study, 'tell', killed)
        with pytest.raises(Killed):
            run(how, folder)
    run(how, folder)
    assert told(folder) == told(whole[1])


@pytest.mark.parametrize('prune', ['halving', 'median'])
def test_pruned_trials_cost_less(prune, pruned, tmp_path):
    if prune == 'halving':
        result, folder = pruned
    else:
        folder = tmp_path / 'w'
        result = run(Search(trials=12, batch=4, prune=prune), folder)
    numbers = dict(SweepFolder(folder).plan()['trials'])
    dropped = {r['point']: r['step'] for r in result.records if r.get('dropped')}
    study = found(folder)
    those = {numbers[t.number][0] for t in study.trials if t.state == STATES.PRUNED}
    assert those and those == set(dropped) and len(those) < 12
    assert all(step < 40 for step in dropped.values())
    for trial in study.trials:
        (index,) = numbers[trial.number]
        valid = [
            r['accuracy']
            for r in result.records
            if r['point'] == index and r['split'] == 'valid' and not r.get('dropped')
        ]
        reported = list(trial.intermediate_values.values())
        assert reported == (valid if trial.state == STATES.PRUNED else valid[:-1])
    assert not dropped.keys() & {r['point'] for r in result.records if r.get('finished')}


SCORED = {'best': 'max macro_f1', 'score_every': '20 steps'}


def test_a_score_is_searched_for_where_it_is_measured(tmp_path):
    """Pruning passes over the validations between two scorings."""
    how = Search(trials=6, batch=3, prune='halving')
    result = run(how, tmp_path / 'w', **SCORED)
    numbers, pruned = dict(SweepFolder(tmp_path / 'w').plan()['trials']), 0
    for trial in found(tmp_path / 'w').trials:
        mine = [r for r in result.records if r['point'] == numbers[trial.number][0]]
        (first,) = [r for r in mine if r['step'] == 20 and r['split'] == 'valid'][:1]
        assert trial.intermediate_values == {2: pytest.approx(first['macro_f1'])}
        if trial.state == STATES.COMPLETE:
            assert trial.value == mine[-1]['best_value'] and mine[-1]['best_step'] in (20, 40)
        else:
            pruned += 1
            assert mine[-1]['dropped'] and mine[-1]['step'] == 20
    assert 0 < pruned < 6


@pytest.mark.parametrize(
    ('more', 'how', 'message'),
    [
        ({'best': 'max macro_f2'}, Search(), "no metric 'macro_f2'.*macro_f1"),
        ({}, Search(objectives=('max macro_f1', 'min mcro_f1')), "no 'mcro_f1'.* macro_f1"),
        ({}, Search(objectives=('min loss', 'max macro_f1')), "score_every='10 steps'"),
        ({'score_every': 'None'}, Search(), 'scores by score_every'),
    ],
)
def test_a_score_that_is_not_there_is_told_at_the_first_scoring(more, how, message):
    with pytest.raises(UserError, match=message) as error:
        run(how, space={'optim.lr': [0.01]}, **{**SCORED, **more})
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.slow
def test_several_objectives_are_read_at_the_best_step(tmp_path):
    lines = []
    how = Search(trials=9, batch=3, objectives=('max accuracy', 'min loss', 'min parameters'))
    space = {'optim.lr': log(1e-3, 0.1), 'model.hidden': [(4,), (16,)]}
    result = run(how, tmp_path / 'w', space, lines.append)
    study = found(tmp_path / 'w')
    assert [d.name for d in study.directions] == ['MAXIMIZE', 'MINIMIZE', 'MINIMIZE']
    for number, (index,) in SweepFolder(tmp_path / 'w').plan()['trials']:
        mine = [r for r in result.records if r['point'] == index]
        at = next(r for r in mine if r['step'] == mine[-1]['best_step'] and r['split'] == 'valid')
        expected = [mine[-1]['best_value'], at['loss'], mine[-1]['parameters']]
        assert study.trials[number].values == expected
    assert len([line for line in lines if line.startswith('no trial beats')]) == len(
        study.best_trials
    )
    assert {tuple(p['model.hidden']) for p in result.points} == {(4,), (16,)}
    assert result.compilations == 2  # of two programs, in all batches


def test_a_point_asked_twice_runs_once(tmp_path):
    result = run(Search(trials=8, batch=4), tmp_path / 'w', {'optim.lr': [0.01, 0.1, 0.001]})
    study = found(tmp_path / 'w')
    assert len(result.points) <= 3 and len(study.trials) == 8
    by_value = {t.params['optim.lr']: t.value for t in study.trials}
    assert all(by_value[t.params['optim.lr']] == t.value for t in study.trials)


@pytest.mark.slow
def test_a_trial_of_several_seeds_is_their_mean(tmp_path):
    result = run(Search(trials=4, batch=2, seeds=2), tmp_path / 'w', runner='lanes')
    assert [point['seed'] for point in result.points] == [0, 1] * 4
    assert result.compilations == 1
    values = {row.changes['optim.lr']: row.valid.mean for row in result.rows}
    for trial in found(tmp_path / 'w').trials:
        assert trial.value == pytest.approx(values[trial.params['optim.lr']])


def test_a_diverged_trial_is_pruned_and_says_so(tmp_path):
    space = {'optim.lr': [1e30], 'task.smoothing': uniform(0.0, 0.1)}
    run(Search(trials=2, batch=2), tmp_path / 'w', space, **{'optim.name': 'sgd'})
    for trial in found(tmp_path / 'w').trials:
        assert trial.state == STATES.PRUNED and 0 <= trial.user_attrs['diverged'] <= 40


@pytest.mark.slow
def test_two_workers_share_the_trials(tmp_path):
    flags = [f'--config.{name}={value}' for name, value in SMALL.items() if name != 'devices']
    flags += ['--random=optim.lr=log(1e-5,1)', '--search=optuna', '--trials=12', '--batch=2']
    flags += [f'--storage=sqlite:///{tmp_path}/shared.db', '--quiet', '--config.devices=1']
    command = [sys.executable, '-m', 'nnjax', 'sweep', '--config=digits_mlp', *flags]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'XLA_FLAGS': ''}
    workers = [
        subprocess.Popen(
            [*command, f'--workdir={tmp_path / name}'], env=environment, stdout=subprocess.PIPE
        )
        for name in 'ab'
    ]
    assert [worker.wait() for worker in workers] == [0, 0]
    study = optuna.load_study(study_name='digits_mlp', storage=f'sqlite:///{tmp_path}/shared.db')
    owned = [dict(SweepFolder(tmp_path / name).plan()['trials']) for name in 'ab']
    assert not owned[0].keys() & owned[1].keys()
    assert owned[0].keys() | owned[1].keys() == set(range(12))
    assert {t.number for t in study.trials if t.state == STATES.COMPLETE} == set(range(12))


def test_a_worker_that_comes_too_late(whole, tmp_path, capsys):
    flags = [f'--config.{name}={value}' for name, value in SMALL.items()]
    flags += ['--search=optuna', '--random=optim.lr=log(1e-5,1)', '--study=digits', '--trials=12']
    flags += ['--random=task.smoothing=uniform(0,0.3)', f'--workdir={tmp_path / "w"}']
    code, out, err = nnjax(capsys, *flags, f'--storage=sqlite:///{whole[1]}/optuna.db')
    assert code == 0 and 'has its 12 trials' in out and not err


# Mistakes.


@pytest.mark.parametrize(
    ('how', 'space', 'message'),
    [
        (Search(trials=0), SPACE, 'trials=0'),
        (Search(batch=0), SPACE, 'batch=0'),
        (Search(), {}, 'needs a space'),
        (Search(sampler='tpee'), SPACE, "did you mean 'tpe'"),
        (Search(sampler='cmaes'), {'optim.lr': [0.1, 0.2]}, 'two or more fields of numbers, got 0'),
        (Search(sampler='cmaes', objectives=('min loss', 'max accuracy')), SPACE, 'one objective'),
        (
            Search(prune='median', objectives=('min loss', 'max accuracy')),
            SPACE,
            'cannot be pruned',
        ),
        (Search(prune='median', seeds=2), SPACE, 'cannot be pruned'),
        (Search(objectives=('max acuracy',)), SPACE, "no metric 'acuracy'"),
        (Search(objectives=('min loss', 'min secondz')), SPACE, "no 'secondz'"),
        (Search(), {'optim.rl': log(0.1, 1)}, "did you mean 'lr'"),
        (Search(), {'optim.name': ['adam', 'adm']}, 'adm'),
        (Search(storage='nonsense'), SPACE, '--storage=nonsense'),
        (
            Search(storage='oracle9://me:secret@here/db'),
            SPACE,
            r'--storage=oracle9://me:\*\*\*@here',
        ),
        (Search(storage='sqlite:////nowhere/at/all.db'), SPACE, 'unable to open'),
    ],
)
def test_mistakes_are_told_before_anything_runs(how, space, message, tmp_path):
    with pytest.raises(UserError, match=message) as error:
        run(how, tmp_path / 'w', space)
    assert len(str(error.value).splitlines()) == 1 and not (tmp_path / 'w').exists()


def test_a_damaged_or_locked_storage_is_told(tmp_path, monkeypatch):
    (tmp_path / 'bad.db').write_text('no database ' * 100)
    with pytest.raises(UserError, match=r'bad.db: file is not a database'):
        run(Search(storage=f'sqlite:///{tmp_path}/bad.db'), tmp_path / 'w')
    monkeypatch.setattr(storage, 'SECONDS', 0.2)
    with sqlite3.connect(tmp_path / 'locked.db') as lock:
        lock.execute('BEGIN EXCLUSIVE')
        with pytest.raises(UserError, match=r'locked.db: database is locked'):
            run(Search(storage=f'sqlite:///{tmp_path}/locked.db'), tmp_path / 'w')
    lock.close()
    assert not (tmp_path / 'w').exists()


def test_what_differs_from_the_study_or_the_folder_is_told(whole, tmp_path):
    _, folder = whole
    shared = f'sqlite:///{folder}/optuna.db'
    for how, space, more, message in (
        (Search(), {'optim.lr': log(1e-5, 0.5)}, {}, 'another space: optim.lr.high: 1.0 -> 0.5'),
        (Search(), SPACE, {'total': '50 steps'}, 'another config: total: 40 steps -> 50 steps'),
        (Search(objectives=('min loss', 'max accuracy')), SPACE, {}, 'another objectives'),
    ):
        how = Search(**{**vars(how), 'storage': shared})
        with pytest.raises(UserError, match=message):
            run(how, tmp_path / 'w', space, **more)
    assert not (tmp_path / 'w').exists()
    with pytest.raises(UserError, match=r'another search \(sampler: tpe -> random'):
        run(Search(trials=12, sampler='random'), folder)
    optuna.create_study(study_name='digits', storage=f'sqlite:///{tmp_path}/own.db').ask()
    with pytest.raises(UserError, match="is not nnjax's"):
        run(Search(storage=f'sqlite:///{tmp_path}/own.db'), tmp_path / 'w')


@pytest.mark.slow
def test_a_folder_whose_storage_is_lost_is_told(tmp_path):
    run(Search(trials=2, batch=2), tmp_path / 'w')
    (tmp_path / 'w' / 'optuna.db').unlink()
    with pytest.raises(UserError, match='speaks of trials'):
        run(Search(trials=2, batch=2), tmp_path / 'w')


def nnjax(capsys, *flags) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        cli.main(['sweep', '--config=digits_mlp', *flags])
    captured = capsys.readouterr()
    return stop.value.code, captured.out, captured.err


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['--search=optuna'], 'needs a space'),
        (['--search=optuma'], 'optuma'),
        (['--search=optuna', '--random=optim.lr=log(1e-3,1)', '--trials=0'], 'trials'),
        (['--search=optuna', '--random=optim.lr=log(1e-3,1)', '--sampler=best'], 'sampler'),
        (['--search=optuna', '--random=optim.lr=log(1e-3,1)', '--points=4'], '--points'),
        (['--trials=4'], '--trials needs --search=optuna'),
        (
            ['--search=optuna', '--random=optim.lr=log(1e-3,1)', '--grid=optim.lr=1,2'],
            'in --grid and in --random',
        ),
    ],
)
def test_flags_that_do_not_go_together(flags, message, capsys):
    code, _, err = nnjax(capsys, *flags)
    assert code == 2 and message in err and len(err.splitlines()) == 1


def test_the_extra_is_named_where_optuna_is_missing(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'optuna', None)
    code, _, err = nnjax(capsys, '--search=optuna', '--random=optim.lr=log(1e-3,1)')
    assert code == 2 and "pip install 'nnjax[search]'" in err


def test_the_command(capsys, tmp_path):
    flags = [f'--config.{name}={value}' for name, value in SMALL.items()]
    code, out, err = nnjax(
        capsys,
        *flags,
        '--search=optuna',
        '--random=optim.lr=log(1e-5,1)',
        '--grid=task.smoothing=0,0.1',
        '--trials=4',
        '--batch=2',
        '--objective=min loss',
        f'--workdir={tmp_path / "w"}',
    )
    assert code == 0 and 'valid loss' in out and 'trials 2 to 3 of 4' in err
    assert (tmp_path / 'w' / 'report.html').is_file()
    assert SweepFolder(tmp_path / 'w').ranking() == ('min', 'loss')
