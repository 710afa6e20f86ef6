"""A sweep's page shows every configuration, what the fields do, and what went wrong."""

import json
import math
import re

import numpy as np
import pytest
from scipy import stats

from nnjax import cli, report
from nnjax import config as configs
from nnjax.report import axis, lanes, sweep_folder
from nnjax.report.importance import importance, ranked
from nnjax.report.shade import Scale
from tests.test_report import Page

STEPS = range(25, 501, 25)
RATES, DECAYS, WIDTHS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0), (0.0, 1e-4, 1e-3), ((64,), (128, 64))


def grid(seeds=3):
    return [
        {'optim.lr': lr, 'optim.weight_decay': decay, 'model.hidden': hidden, 'seed': seed}
        for lr in RATES
        for decay in DECAYS
        for hidden in WIDTHS
        for seed in range(seeds)
    ]


def goal(point) -> float:
    """The accuracy a point ends at: best at lr 0.03, a little better with decay and width."""
    rise = 0.04 * math.log10(point['optim.lr'] / 0.03) ** 2
    width = len(point.get('model.hidden', (64,)))
    return 0.97 - rise + 4 * point.get('optim.weight_decay', 0.0) + 0.004 * width


def lane(index, point, rng):
    """A lane's records: lr 1.0 diverges, what is far behind at half of the steps is dropped."""
    end = goal(point) + rng.normal() * 0.003
    best = 0.0
    for step in STEPS:
        clock = {'point': index, 'step': step, 'epoch': step / 25, 'seconds': step / 40}
        if point['optim.lr'] >= 1.0 and step >= 100:
            yield {'point': index, 'split': 'train', 'step': step, 'diverged': True}
            return
        accuracy = end - 0.6 * math.exp(-step / 90) + rng.normal() * 0.004
        loss = 2.3 * math.exp(-step / 100 * (1 + math.log10(point['optim.lr'] / 0.001))) + 0.02
        yield {**clock, 'split': 'train', 'loss': loss * math.exp(rng.normal() / 9), 'lr': 0.1}
        dropped = {'dropped': True} if step == 250 and goal(point) < 0.945 else {}
        best = max(best, accuracy)
        yield {**clock, 'split': 'valid', 'loss': 1 - accuracy, 'accuracy': accuracy, **dropped}
        if dropped:
            return
    final = {'best_step': 400, 'best_value': best, 'parameters': 9000, 'finished': True}
    test = {'accuracy': end - 0.005, 'loss': 0.1, 'f1/0': 0.5}
    yield {**clock, 'split': 'test', **test, **final}


def save(path, points=None, records=None, best='max accuracy', **environment):
    points = grid() if points is None else points
    if records is None:
        rng = np.random.default_rng(0)
        records = [r for index, point in enumerate(points) for r in lane(index, point, rng)]
    path.mkdir(parents=True, exist_ok=True)
    config = configs.load('digits_mlp')
    config.best = best
    saved = {'experiment': 'digits_mlp', 'data': 'print', 'points': points, 'plan': {}}
    (path / 'sweep.json').write_text(json.dumps(saved | {'config': configs.to_json(config)}))
    (path / 'metrics.jsonl').write_text(''.join(json.dumps(r) + '\n' for r in records))
    environment = {'commit': 'abc1234', 'command': 'nnjax sweep --config=digits_mlp'} | environment
    (path / 'environment.json').write_text(json.dumps(environment))
    return path


def written(path) -> Page:
    return Page(report.write(path).read_text(encoding='utf-8'))


@pytest.fixture(scope='module')
def page(tmp_path_factory) -> Page:
    return written(save(tmp_path_factory.mktemp('page') / 'sweep'))


def drawn(page, class_):
    return [attrs for _, attrs in page.elements if class_ in attrs.get('class', '').split()]


def test_the_page_is_one_self_contained_file(page):
    assert not page.all('script') and not page.all('link') and not page.all('img')
    names = {attrs.get('id') for _, attrs in page.elements}
    assert {attrs['href'].removeprefix('#') for attrs in page.all('a')} <= names
    assert all(attrs.get('aria-label') for attrs in page.all('svg'))
    assert 'git checkout abc1234 nnjax sweep --config=digits_mlp' in page.text


def test_every_configuration_has_a_row_and_a_line(page):
    rows = drawn(page, 'finished') + drawn(page, 'dropped') + drawn(page, 'diverged')
    assert len(drawn(page, 'path')) == 36
    assert len([row for row in rows if 'path' in row['class']]) == 35  # and the best
    assert page.text.count('diverged at step 100') >= 6
    assert 'dropped at step 250' in page.text and 'Show 16 more' in page.text


def test_the_best_is_told_with_its_settings(page):
    assert re.search(r'best valid accuracy 0\.98\d\d lr 0.03 · weight_decay 0.001', page.text)
    assert '6 of 36 configurations diverged: all those with lr 1 or more.' in page.text
    assert '36 12 dropped, 6 diverged' in page.text
    assert re.search(r'The best is 0\.\d+ ahead of the second on validation', page.text)


def test_every_lane_has_its_curve(page):
    lanes = drawn(page, 'lane')
    first = [attrs for attrs in lanes if 'first' in attrs['class']]
    assert len(lanes) == 2 * 108 and len(first) == 2 * 3
    assert lanes[107] in first and lanes[-1] in first  # on top of the others
    assert len(drawn(page, 'cross')) > 2 * 18


def test_the_heat_map_is_of_rate_and_decay(page):
    """Its cells are the means over everything else."""
    assert 'lr by weight_decay' in page.text
    rng, points = np.random.default_rng(0), grid()
    best = [[r for r in lane(i, p, rng)][-1].get('best_value') for i, p in enumerate(points)]
    chosen = [
        b
        for b, p in zip(best, points)
        if p['optim.lr'] == 0.01 and p['optim.weight_decay'] == 0.001
    ]
    assert f'0.01, 0.001: 2 configurations, mean {np.mean(chosen):.4f}' in page.text
    assert page.text.count('2 configurations, 2 diverged') == 3


def test_a_loss_ranks_and_draws_the_other_way(tmp_path):
    points = [{'optim.lr': lr, 'seed': 0} for lr in (0.1, 0.2, 0.3)]
    records = [
        {'point': i, 'split': 'test', 'step': 9, 'loss': x, 'best_value': x, 'finished': True}
        for i, x in enumerate((0.5, 0.1, 0.3))
    ]
    page = written(save(tmp_path, points, records, best='min loss'))
    assert (
        'best valid loss 0.1000 lr 0.2' in page.text and 'the lowest validation loss' in page.text
    )
    assert Scale.of([0.5, 0.1, 0.3], False).share(0.1) == 1
    rows = sweep_folder.read(tmp_path).rows
    assert [row.changes['optim.lr'] for row in rows] == [0.2, 0.3, 0.1]


def test_the_edge_of_a_range_is_told(tmp_path):
    points = [{'optim.lr': lr, 'seed': 0} for lr in (0.0003, 0.001, 0.003, 0.02)]
    assert (
        'The best lr, 0.02, is the largest tried: try beyond it.'
        in written(save(tmp_path, points)).text
    )


def test_an_unfinished_sweep_is_told(tmp_path):
    rng = np.random.default_rng(0)
    records = [r for i, point in enumerate(grid()) for r in list(lane(i, point, rng))[:3]]
    page = written(save(tmp_path, records=records))
    assert (
        'Not finished: 108 of 108 lanes' in page.text and 'best valid accuracy so far' in page.text
    )


ONE = [{'optim.lr': 0.1, 'seed': 0}]


@pytest.mark.parametrize(
    ('points', 'records'),
    [
        (grid(1), []),
        (ONE, []),
        (ONE, None),
        ([{'seed': 0}, {'seed': 1}], None),
        (grid(1), [{'point': i, 'split': 'train', 'step': 5, 'diverged': True} for i in range(36)]),
        (grid(1)[:7], [{'point': 1, 'split': 'valid', 'step': 5, 'accuracy': None}, {'point': 99}]),
        (grid(1)[:7], [{'point': 1, 'split': 'valid', 'step': 5, 'accuracy': 0.5}]),
        (
            grid(1)[:9],
            [{'point': i, 'split': 'valid', 'accuracy': 0.5, 'step': 1} for i in range(9)],
        ),
        (
            grid(1)[:2],
            [
                {
                    'point': 0,
                    'split': 'valid',
                    'step': 5,
                    'copied_from': 1,
                    'changed': {'optim.lr': 1},
                }
            ],
        ),
        (
            [{'optim.lr': 0.1, 'seed': 0}, {'model.hidden': [64, 32], 'seed': 0}, {'seed': 0}],
            None,
        ),
        ([{'optim.decay': name, 'seed': 0} for name in ('<script>', '"onload="x', 'step')], None),
    ],
)
def test_any_sweep_makes_a_page(tmp_path, points, records):
    if records is None:
        records = [
            {'point': i, 'split': 'test', 'step': 9, 'seconds': 1.0, 'accuracy': 0.9}
            | {'best_value': 0.5 + i / 9, 'finished': True}
            for i in range(len(points))
        ]
    page = written(save(tmp_path, points, records))
    said = ' '.join(value for _, attrs in page.elements for value in attrs.values() if value)
    assert 'nan' not in said and 'inf,' not in said and not page.all('script')
    assert not any('onload' in attrs for _, attrs in page.elements)


def test_the_command_writes_either_report(tmp_path, capsys):
    sweep, run = save(tmp_path / 'sweep', ONE, []), tmp_path / 'run'
    run.mkdir()
    (run / 'metrics.jsonl').write_text('{"split": "train", "step": 1, "loss": 2.0}\n')
    with pytest.raises(SystemExit) as stop:
        cli.main(['report', str(sweep), str(run)])
    assert stop.value.code == 0 and capsys.readouterr().out.count('report.html') == 2
    assert 'Ranking' in (sweep / 'report.html').read_text()
    assert 'Not finished' in (run / 'report.html').read_text()
    (sweep / 'sweep.json').write_text('{')
    for arguments in ([], [str(tmp_path)], [str(sweep)]):
        with pytest.raises(SystemExit) as stop:
            cli.main(['report', *arguments])
        error = capsys.readouterr().err
        assert stop.value.code == 2 and error.startswith('nnjax: ') and error.count('\n') == 1


# What the pictures are made of


def test_importance_is_that_of_kruskal_and_wallis():
    """Epsilon squared, (H - k + 1) / (n - k), from SciPy's H."""
    rng = np.random.default_rng(0)
    values = ['a', 'b', 'c'] * 6
    scores = rng.normal(size=18) + np.tile([0.0, 0.5, 1.5], 6)
    groups = [scores[i::3] for i in range(3)]
    expected = (stats.kruskal(*groups).statistic - 2) / (18 - 3)
    found = importance(values, ranked(-scores))
    assert found.share == pytest.approx(expected) and set(found.best) == {'c'}


def test_importance_tells_what_matters_from_what_does_not():
    rng = np.random.default_rng(0)
    noise, shares = [], []
    for _ in range(100):
        rate, other = rng.uniform(size=(2, 60))
        ranks = ranked((rate - 0.5) ** 2 + rng.normal(size=60) * 0.01)
        shares.append(importance(list(rate), ranks).share)
        noise.append(importance(list(other), ranks).share)
    assert min(shares) > 0.3 and np.mean(noise) < 0.05
    best = importance(list(rate), ranks).best
    assert min(best) > 0.2 and max(best) < 0.8


@pytest.mark.parametrize('values', [[], [1.0], [1, 2], ['a', 'b', 'c'], [(1, 2), (3,), (1, 2), 4]])
def test_importance_of_too_few_is_unknown(values):
    if values:
        assert math.isnan(importance(values, ranked(range(len(values)))).share)


def test_equal_ranks_share_their_mean():
    assert ranked([3.0, 1.0, 3.0, 2.0]) == stats.rankdata([3.0, 1.0, 3.0, 2.0]).tolist()


@pytest.mark.parametrize(
    ('values', 'log', 'levels'),
    [
        ([0.001, 0.01, 0.1], True, False),
        ([0.001, 0.1], True, False),
        ([1, 2, 3, 4], False, False),
        ([0.0, 1e-4, 1e-3, 1e-2], False, True),
        (['adam', 'sgd'], False, True),
        ([(64,), (64, 32)], False, True),
        ([True, False], False, True),
        ([0.5], False, True),
        ([None, 0.1], False, True),
        ([-1.0, 5.0, 100.0], False, False),
    ],
)
def test_axes_fit_their_values(values, log, levels):
    found = axis.of(values)
    assert found.log == log and bool(found.levels) == levels
    places = [found.place(value) for value in axis.ordered(values)]
    assert places == sorted(places) and all(0 <= place <= 1 for place in places)
    assert all(-1e-9 <= place <= 1 + 1e-9 for place, _ in found.marks)


def test_shades_are_clipped_at_the_worst_quarter():
    scale = Scale.of([0.1, 0.8, 0.9, 0.95, 1.0], True)
    assert scale.share(1.0) == 1 and scale.share(0.1) == scale.share(0.8) == 0
    assert 0 < scale.share(0.9) < scale.share(0.95) < 1
    assert Scale.of([0.5, 0.5], True).share(0.5) == 1


def test_two_thousand_lanes_stay_a_readable_file(tmp_path):
    rng = np.random.default_rng(0)
    points = [{'optim.lr': float(10 ** rng.uniform(-3, 0)), 'seed': 0} for _ in range(2000)]
    records = [
        {'point': i, 'split': 'test', 'step': 9, 'accuracy': 0.9, 'finished': True}
        | {'best_value': goal(point)}
        for i, point in enumerate(points)
    ]
    path = report.write(save(tmp_path, points, records))
    assert path.stat().st_size < 3_000_000


def test_a_copied_lane_has_a_dot_where_it_was_copied(tmp_path):
    scored = lambda point, step, **more: {
        'point': point,
        'split': 'valid',
        'step': step,
        'epoch': step / 10,
        'accuracy': 0.5 + step / 1000,
        'loss': 1.0,
        **more,
    }
    points = [{'optim.lr': 0.1, 'seed': 0}, {'optim.lr': 0.2, 'seed': 0}]
    records = [scored(point, step) for step in (10, 20, 30) for point in (0, 1)]
    plain = lanes.curves(sweep_folder.read(save(tmp_path / 'a', points, records)), 'valid', 'accuracy', 'step', 50)  # fmt: skip
    records.append(scored(1, 20, copied_from=0))
    copied = lanes.curves(sweep_folder.read(save(tmp_path / 'b', points, records)), 'valid', 'accuracy', 'step', 50)  # fmt: skip
    assert plain.count('<circle') == 0 and copied.count('<circle') == 1
