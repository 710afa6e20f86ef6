"""A sweep's folder holds what it was given; its table ranks by validation and hides no failure."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nnjax import config as configs
from nnjax.errors import UserError
from nnjax.sweep import table
from nnjax.sweep.estimate import Estimate
from nnjax.sweep.folder import SweepFolder

BEST = ('max', 'accuracy')
POINTS = [{'optim.lr': lr, 'seed': seed} for lr in (0.1, 0.2, 0.3, 0.4) for seed in range(3)]


@pytest.fixture
def folder(tmp_path) -> SweepFolder:
    made = SweepFolder(tmp_path / 'sweep')
    config = configs.load('digits_mlp')
    made.create(config, 'digits_mlp', 'print', [{'model.hidden': (8, 8), 'seed': 1}], {'lanes': 4})
    return made


def test_a_folder_gives_back_what_it_was_given(folder):
    again = SweepFolder(folder.path)
    assert again.exists and again.data() == 'print' and again.plan() == {'lanes': 4}
    assert again.points() == [{'model.hidden': (8, 8), 'seed': 1}]
    name, config = again.config()
    assert name == 'digits_mlp' and config.model.hidden == configs.load('digits_mlp').model.hidden
    assert again.ranking()[0] in ('min', 'max')
    assert json.loads((folder.path / 'environment.json').read_text())['jax']


def test_records_are_appended_and_rewritten(folder):
    for step in range(3):
        folder.append({'point': 0, 'split': 'valid', 'step': step, 'loss': math.nan})
    assert [r['loss'] for r in folder.records()] == [None] * 3
    with (folder.path / 'metrics.jsonl').open('a') as file:
        file.write('{"point": 0, "sp')
    assert len(folder.records()) == 3
    folder.rewrite(r for r in folder.records() if r['step'] < 2)
    assert [r['step'] for r in folder.records()] == [0, 1]


@pytest.mark.parametrize('text', ['{"poin', '[]', '{}', '{"points": 3}', '{"points": [{"a": 1}]}'])
def test_damage_is_told_in_a_line(folder, text):
    (folder.path / 'sweep.json').write_text(text)
    with pytest.raises(UserError, match=r'sweep.json is damaged') as error:
        SweepFolder(folder.path).points()
    assert len(str(error.value).splitlines()) == 1


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(UserError, match='is no sweep folder'):
        SweepFolder(tmp_path / 'absent').points()
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='is a file'):
        SweepFolder(tmp_path / 'file')
    with pytest.raises(UserError, match='not empty and no sweep folder'):
        SweepFolder(tmp_path)


def final(point, valid, test, step=100):
    values = {'best_value': valid, 'best_step': 60, 'accuracy': test, 'finished': True}
    return {'point': point, 'split': 'test', 'step': step, 'seconds': 2.0, **values}


def valid(point, step, accuracy, **more):
    clock = {'step': step, 'seconds': step / 50}
    return {'point': point, 'split': 'valid', **clock, 'accuracy': accuracy, **more}


def records():
    """lr 0.1 finishes, 0.2 diverges in one seed, 0.3 is dropped, 0.4 finishes better on valid."""
    yield valid(0, 50, 0.99)  # not the best_value, which the runner settles
    yield from (final(i, 0.90 + 0.01 * i, 0.99) for i in range(3))
    yield from (final(i, 0.999, 0.999) for i in (3, 4))
    yield {'point': 5, 'split': 'train', 'step': 20, 'diverged': True}
    for i in range(6, 9):
        yield from (valid(i, 10, 0.97), valid(i, 20, 0.5, dropped=True))
    yield from (final(i, 0.95 + 0.01 * (i - 9), 0.91) for i in range(9, 12))


def test_rows_are_ranked_by_validation_and_no_failure_is_hidden():
    rows = table.rank(POINTS, records(), BEST)
    assert [row.changes['optim.lr'] for row in rows] == [0.4, 0.1, 0.3, 0.2]
    statuses = ['finished', 'finished', 'dropped at step 20', '1 of 3 diverged at step 20']
    assert [row.status for row in rows] == statuses
    assert rows[0].valid.mean == pytest.approx(0.96) and rows[0].test.mean == pytest.approx(0.91)
    assert rows[1].valid.mean == pytest.approx(0.91) and rows[2].valid.mean == pytest.approx(0.97)
    assert [row.diverged for row in rows] == [0, 0, 0, 1] and len(rows[3].valid.values) == 2
    assert rows[2].test.values == () and rows[0].seconds == 2
    assert [lane.index for lane in rows[0].lanes] == [9, 10, 11]


def test_a_metric_to_minimise_ranks_the_other_way():
    rows = table.rank(POINTS, records(), ('min', 'accuracy'))
    assert [row.changes['optim.lr'] for row in rows] == [0.1, 0.4, 0.3, 0.2]


def test_a_sweep_that_has_not_begun_or_still_runs():
    rows = table.rank(POINTS, [], BEST)
    assert {row.status for row in rows} == {'not begun'} and math.isnan(rows[0].valid.mean)
    rows = table.rank(POINTS, [valid(4, 10, 0.3), valid(4, 20, 0.2)], BEST)
    assert rows[0].status == 'running, step 20' and rows[0].valid.mean == 0.3
    table.render(rows, BEST)


def test_points_of_one_configuration_are_found_in_any_order():
    points = [
        {'seed': 0, 'a': 1, 'b': (1, 2)},
        {'b': (1, 2), 'a': 1, 'seed': 9},
        {'a': 1, 'seed': 0},
    ]
    rows = table.rank(points, [], BEST)
    assert [len(row.lanes) for row in rows] == [2, 1]
    assert table.fields(rows) == ['b']


def test_text_has_a_line_a_configuration():
    text = table.render(table.rank(POINTS, records(), BEST), BEST)
    lines = text.splitlines()
    assert lines[0].split() == [
        'lr',
        'valid',
        'accuracy',
        'test',
        'accuracy',
        *lines[0].split()[5:],
    ]
    assert lines[1].split()[:5] == ['1', '0.4', '0.9600', '±', '0.0248']
    assert 'diverged at step 20' in lines[4] and max(map(len, lines)) <= 100
    assert table.render(table.rank(POINTS, records(), BEST), BEST, most=1).count('and 3 more') == 1


def test_names_are_as_short_as_they_tell_apart():
    names = table.short_names(['optim.lr', 'model.width', 'data.width', 'batch'])
    assert list(names.values()) == ['lr', 'model.width', 'data.width', 'batch']


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30))
def test_the_interval_is_students(values):
    found = Estimate.of(values)
    sem = stats.sem(values)
    assert found.mean == pytest.approx(np.mean(values), abs=1e-9)
    if sem > 1e-9:
        low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), sem)
        assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9, abs=1e-9)


def test_one_value_has_no_interval():
    assert math.isnan(Estimate.of([0.5]).half) and math.isnan(Estimate.of([]).mean)
    assert table.interval(Estimate.of([0.5])) == '0.5000' and table.interval(Estimate.of([])) == ''
