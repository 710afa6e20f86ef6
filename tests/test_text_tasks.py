"""Language modelling and question answering: losses, scores, spans against plain formulas."""

import itertools
import json
import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnjax
from nnjax import models, tasks, texts
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.data.text import inputs
from nnjax.errors import UserError
from nnjax.ops import answers
from nnjax.report import folder
from nnjax.training import generate, optim, predict, restore, runner
from nnjax.training.setup import setup
from nnjax.training.step import _sum

RNG = np.random.default_rng(0)


def average(weighted):
    total, weight = _sum(weighted, jnp.ones(len(weighted[0])))
    return float(total / weight)


def test_a_language_model_predicts_what_follows():
    task = tasks.language_model()
    tokens = jnp.array([[4, 5, 6, 7], [5, 4, 99, -3]])  # behind the second's end is garbage
    batch = {'text': tokens, 'text_length': jnp.array([4, 2])}
    logits = jnp.asarray(RNG.normal(size=(2, 4, 8)), jnp.float32)
    logs = np.asarray(logits) - np.log(np.exp(logits).sum(-1, keepdims=True))
    wanted = [-logs[0, 0, 5], -logs[0, 1, 6], -logs[0, 2, 7], -logs[1, 0, 4]]
    assert average(task.loss(logits, batch)) == pytest.approx(np.mean(wanted), rel=1e-5)
    sure = 100.0 * jnp.eye(8)[jnp.array([[5, 6, 0, 0], [4, 0, 0, 0]])]
    assert average(task.metrics(sure, batch)['accuracy']) == pytest.approx(3 / 4)


def test_packed_examples_do_not_predict_each_other():
    task = tasks.language_model()
    batch = {
        'text': jnp.array([[4, 5, 6, 7, 4, 0]]),
        'text_length': jnp.array([5]),
        'text_segment': jnp.array([[1, 1, 1, 2, 2, 0]]),
    }
    _, weights = task.loss(jnp.zeros((1, 6, 8)), batch)
    assert weights.tolist() == [[1, 1, 0, 1, 0]]
    assert [len(x) for x in task.inputs(batch)] == [1, 1, 1]


def test_bits_and_perplexity_of_a_uniform_model():
    task = tasks.language_model()
    written = ['häuser', 'cat']
    tokens = np.zeros((2, 6), np.int32)
    batch = {'text': jnp.asarray(tokens + 4), 'text_length': jnp.array([6, 3])}
    found = task.predict(lambda *inputs: jnp.zeros((2, 6, 32)), batch)
    sizes = {'text_characters': [5, 2], 'text_bytes': [6, 2]}  # all behind 'h' and 'c'
    sizes = {name: np.array(values) for name, values in sizes.items()}
    scores = task.score({n: np.asarray(v) for n, v in found.items()}, sizes)
    assert [len(text) - 1 for text in written] == [5, 2]
    assert scores['perplexity'] == pytest.approx(32, rel=1e-5)
    assert scores['bits_per_character'] == pytest.approx(5, rel=1e-5)
    assert scores['bits_per_byte'] == pytest.approx(5 * 7 / 8, rel=1e-5)


def qa_batch():
    """<bos> q <eos> a b c d <eos>, padding; the answer is 'b c'."""
    offsets = np.zeros((1, 9, 2), np.int32)
    offsets[0, 3:7] = [(0, 1), (2, 4), (5, 6), (7, 9)]
    return {
        'text': jnp.ones((1, 9), jnp.int32),
        'text_length': jnp.array([8]),
        'text_offsets': jnp.asarray(offsets),
        'span': jnp.array([[4, 5]]),
    }


def test_an_answer_is_the_best_span_of_the_context():
    task, batch = tasks.qa(), qa_batch()
    scores = np.zeros((1, 9, 2), np.float32)
    scores[0, 1] = scores[0, 8] = 50.0  # the question and the padding are no answers
    scores[0, 4, 0], scores[0, 5, 1] = 3.0, 2.0
    scores[0, 3, 1] = 4.0  # a better end, but before the beginning
    found = task.predict(lambda *inputs: jnp.asarray(scores), batch)
    assert found['prediction'].tolist() == [[2, 6]]
    first, last = (np.exp(scores[0, 3:7, n]) for n in (0, 1))
    wanted = first[1] / first.sum() * last[2] / last.sum()
    assert float(found['probability'][0]) == pytest.approx(wanted, rel=1e-5)
    assert average(task.metrics(jnp.asarray(scores), batch)['accuracy']) == 1
    loss = average(task.loss(jnp.asarray(scores), batch))
    assert loss == pytest.approx(-np.log(wanted) / 2, rel=1e-5)


def test_an_answer_that_was_cut_teaches_nothing():
    batch = {**qa_batch(), 'span': jnp.array([[-1, -1]])}
    _, weights = tasks.qa().loss(jnp.zeros((1, 9, 2)), batch)
    assert not weights.any()
    assert average(tasks.qa().metrics(jnp.zeros((1, 9, 2)), batch)['accuracy']) == 0


@given(st.integers(1, 7), st.integers(1, 9), st.integers(0, 99))
def test_the_best_span_is_that_of_a_search(time, longest, seed):
    scores = np.random.default_rng(seed).normal(size=(1, time, 2)).astype(np.float32)
    (found,), (probability,) = answers.best_span(jnp.asarray(scores), longest)
    pairs = [p for p in itertools.product(range(time), repeat=2) if 0 <= p[1] - p[0] < longest]
    best = max(pairs, key=lambda p: scores[0, p[0], 0] + scores[0, p[1], 1])
    assert tuple(found.tolist()) == best
    sums = [math.exp(scores[0, a, 0] + scores[0, b, 1]) for a, b in itertools.product(range(time), repeat=2)]  # fmt: skip
    wanted = math.exp(scores[0, best[0], 0] + scores[0, best[1], 1]) / sum(sums)
    assert float(probability) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize(
    'said, right, exact, f1',
    [
        ('The Denver Broncos!', 'denver broncos', 1, 1),
        ('Broncos', 'Denver Broncos', 0, 2 / 3),
        ('a cat sat', 'the cat', 0, 2 / 3),
        ('to be or not to be', 'be', 0, 2 / 7),
        ('', 'cat', 0, 0),
        ('the', 'a', 1, 1),
    ],
)
def test_scores_of_answers_are_squad_s(said, right, exact, f1):
    assert answers.exact(said, right) == exact
    assert answers.f1(said, right) == pytest.approx(f1)


def test_the_best_of_several_answers_counts():
    found = tasks.qa().score(
        {'prediction': texts.array(['in Paris', 'blue'])},
        {'answer': texts.array(['Paris\nin Paris', 'red'])},
    )
    assert found == {'exact_match': 0.5, 'f1': 0.5}


def echo(path, total: str = '60 epochs'):
    """A tiny translation: the words backwards."""
    rng = np.random.default_rng(0)
    lines = [' '.join(rng.choice(list('abcd'), rng.integers(1, 4))) for _ in range(300)]
    pairs = [f'{line}\t{" ".join(line.split()[::-1])}' for line in lines]
    (path / 'pairs.tsv').write_text('\n'.join(['source\ttarget', *pairs]) + '\n')
    c = base()
    c.total, c.batch, c.eval_batch, c.parallel = total, 32, 32, 'jit'
    c.buckets = (4,)
    c.data = bind(sources.Table, path=str(path / 'pairs.tsv'), valid='20', test='20', unique=False)
    c.prepare = "words(16, 6, ('source', 'target'), begin=True, end=True)"
    c.model = bind(models.Transformer, vocabulary=20, width=32, heads=2, layers=1)
    c.task = bind(tasks.translation, longest=6, best=2)
    c.optim = bind(optim.make, name='adam', lr=0.01, decay='cosine')
    return c


@pytest.mark.slow
def test_a_translation_is_learned_scored_and_written(tmp_path):
    found = nnjax.train(echo(tmp_path), tmp_path / 'run').metrics
    assert found['exact_match'] > 0.7 and found['chrf'] > 50
    assert 'nrefs:1' in found['signature'] and 'tok:13a' in found['signature']
    report = folder.read(tmp_path / 'run')
    assert {'translation', 'translation_2', 'target'} <= set(report.predictions)
    (tmp_path / 'in.txt').write_text('a b c\nd\n')
    made, state = restore.run(str(tmp_path / 'run'))
    names, arrays = inputs.read([str(tmp_path / 'in.txt')], made.dataset.train.spec, 'source')
    rows = predict.rows(made, names, predict.predict(made, state, arrays))
    assert [row['input'] for row in rows] == ['a b c', 'd']
    assert rows[1]['translation'] == 'd'
    assert rows[0]['score'] >= rows[0]['score_2']


@pytest.mark.slow
@pytest.mark.parametrize('search', ['greedy', 'sample'])
def test_other_searches_give_texts_that_depend_on_no_other_row(search, tmp_path):
    c = echo(tmp_path, '2 epochs')
    c.task = bind(tasks.translation, longest=6, search=search)
    made = setup(c)
    state = runner.start(made)[0].state
    texts_ = {'source': texts.array(['a b', 'c', 'd d a'])}
    whole = predict.predict(made, state, texts_)['translation'].tolist()
    alone = predict.predict(made, state, {'source': texts_['source'][2:]})['translation']
    assert alone.tolist() == whole[2:]
    with pytest.raises(UserError, match="wants the field 'source'; what is to be predicted has"):
        predict.predict(made, state, {'target': texts_['source']})


@pytest.mark.parametrize('smoothing', [0.0, 0.1])
def test_the_loss_of_a_translation_is_the_formula(smoothing):
    """Vaswani et al. (2017), 5.4: the right token 1 - e, and e spread over all tokens."""
    task = tasks.translation(smoothing=smoothing)
    target = np.array([[2, 5, 4, 3, 0], [2, 3, 99, -7, 99]], np.int32)  # garbage behind the end
    batch = {'source': jnp.ones((2, 3), jnp.int32), 'source_length': jnp.array([3, 2])}
    batch |= {'target': jnp.asarray(target), 'target_length': jnp.array([4, 2])}
    logits = RNG.normal(size=(2, 4, 6)).astype(np.float32)
    wanted = []
    for row, place, token in ((0, 0, 5), (0, 1, 4), (0, 2, 3), (1, 0, 3)):
        p = np.exp(logits[row, place].astype(np.float64))
        q = np.full(6, smoothing / 6)
        q[token] += 1 - smoothing
        wanted.append(-np.sum(q * np.log(p / p.sum())))
    assert average(task.loss(jnp.asarray(logits), batch)) == pytest.approx(
        np.mean(wanted), rel=1e-5
    )
    ids, lengths = task.inputs(batch)[2:]
    assert ids.tolist() == target[:, :-1].tolist() and lengths.tolist() == [3, 1]


@pytest.mark.parametrize('frame', ['', ', begin=True', ', end=True'])
def test_a_translation_without_begin_or_end_is_refused(tmp_path, frame):
    c = echo(tmp_path)
    c.prepare = f"words(16, 6, 'source') | words(16, 6, 'target'{frame})"
    with pytest.raises(UserError, match="'target' must begin with <bos> and end with <eos>") as e:
        setup(c)
    assert '\n' not in str(e.value)


def test_a_seed_draws_other_translations(tmp_path):
    c = echo(tmp_path)
    found = []
    for seed in (0, 1):
        c.task = bind(tasks.translation, longest=6, search='sample', seed=seed)
        made = setup(c)
        state = runner.start(made)[0].state
        given = {'source': texts.array(['a b', 'c', 'd d a'])}
        found.append(predict.predict(made, state, given)['translation'].tolist())
    assert found[0] != found[1]


def test_a_translation_longer_than_the_model_s_positions_is_refused(tmp_path):
    c = echo(tmp_path)
    c.model.update(positions='learned', length=8)
    setup(c)
    c.task.longest = 9
    with pytest.raises(UserError, match='a sequence of 9, but learned positions for 8'):
        setup(c)


def test_without_sacrebleu_nothing_starts(monkeypatch):
    importlib = tasks.translation.__globals__['importlib']
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'nnjax\[text\]'"):
        tasks.translation()


def letters(path):
    c = base()
    (path / 'book.txt').write_text('abcd' * 270)
    c.total, c.batch, c.parallel = '150 steps', 16, 'jit'
    c.data = bind(sources.Text, path=str(path / 'book.txt'), length=12, valid='10%', test=None)
    c.prepare = 'characters(16, length=13)'
    c.model = bind(models.TransformerDecoder, vocabulary=16, width=32, heads=2, layers=1)
    c.task = bind(tasks.language_model)
    c.optim = bind(optim.make, name='adam', lr=0.01)
    return c


@pytest.mark.slow
def test_a_language_model_generates_what_it_has_read(tmp_path):
    result = nnjax.train(letters(tmp_path), tmp_path / 'run')
    assert result.metrics['bits_per_character'] < 0.2
    made, state = restore.run(str(tmp_path / 'run'))
    found = generate.generate(made, state, 'abcdab', 9, samples=2, temperature=0.0)
    assert found == ['cdabcdabc', 'cdabcdabc']
    one = generate.generate(made, state, 'ab', 9, samples=3, temperature=5.0)
    assert one == generate.generate(made, state, 'ab', 9, samples=3, temperature=5.0)
    assert len(set(one)) > 1 and all(set(text) <= set('abcd') for text in one)
    with pytest.raises(UserError, match='prompt is empty'):
        generate.generate(made, state, '', 3)
    assert generate.generate(made, state, 'abcd' * 3, 4, temperature=0.0) == ['abcd']
    assert generate.generate(made, state, 'abcd' * 3 + 'a', 4, temperature=0.0) == ['bcda']
    with pytest.raises(UserError, match=r'prompt has more than the 13 tokens .* give its last'):
        generate.generate(made, state, 'abcd' * 4, 4)


@pytest.mark.slow
def test_what_cut_texts_lose_is_not_scored(tmp_path):
    """Bits a character are those of texts that were read to their ends, every symbol."""
    rows = [{'text': 'abcd' * n} for n in (2, 2, 2, 2, 9, 9, 3, 3)]
    other = [*rows[:7], {'text': 'abxd' * 3}]  # 'x' is not in train
    (tmp_path / 'valid.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in other))
    (tmp_path / 'texts.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in rows))
    c = letters(tmp_path)
    path = str(tmp_path / 'texts.jsonl')
    valid = str(tmp_path / 'valid.jsonl')
    c.data = bind(sources.Jsonl, path=path, valid=valid, test=None, unique=False)
    c.total, c.batch = '1 steps', 8
    c.prepare = 'lower | characters(16, length=12)'
    scores = nnjax.train(c, tmp_path / 'run').metrics
    found = np.load(tmp_path / 'run/predictions/valid.npz')
    sizes = [7] * 4 + [-1] * 2 + [11, -1]
    assert found['text_characters'].tolist() == found['text_bytes'].tolist() == sizes
    bits = float(found['nats'][np.array(sizes) > 0].sum()) / math.log(2) / (4 * 7 + 11)
    assert scores['bits_per_character'] == pytest.approx(bits, rel=1e-5)


def test_words_go_on_behind_a_space(tmp_path):
    (tmp_path / 'a.jsonl').write_text('{"text": "in the beginning god"}\n' * 8)
    c = letters(tmp_path)
    c.data = bind(
        sources.Jsonl, path=str(tmp_path / 'a.jsonl'), valid=None, test=None, unique=False
    )
    c.prepare, c.batch = 'words(16, length=6)', 8
    made = setup(c)
    state = runner.start(made)[0].state
    (found,) = generate.generate(made, state, 'in the', 2, temperature=0.0)
    assert found[0] == ' ' and set(found.split()) <= set('in the beginning god'.split())


@pytest.mark.slow
def test_packed_letters_train_alike(tmp_path):
    """Packed rows of whole texts: positions and attention start anew in each."""
    c = letters(tmp_path)
    c.total, c.pack = '1 steps', True
    c.prepare = 'characters(16, length=26)'
    made = setup(c)
    assert made.padding < 0.02 and len(made.train) == 41
    assert np.isfinite(nnjax.train(c).metrics['loss'])


def test_other_models_and_tasks_take_no_packed_rows(tmp_path):
    c = letters(tmp_path)
    c.pack, decoder = True, c.model
    c.model = bind(models.RNN, classes=16, vocabulary=16, embedding=4, hidden=4, pool='none')
    other = c.copy_and_resolve_references()
    other.model, other.task = decoder, bind(tasks.classification, input='text')
    for mistaken in (c, other):
        with pytest.raises(UserError, match='pack=True is for language models that are T') as e:
            setup(mistaken)
        assert '\n' not in str(e.value)


@pytest.mark.parametrize(
    'fields, words',
    [
        ({'best': 2, 'search': 'greedy'}, "search='greedy' gives 1"),
        ({'best': 5, 'beams': 4}, "search='beam' gives 4"),
    ],
)
def test_a_search_gives_no_more_than_it_finds(fields, words):
    with pytest.raises(UserError, match=words):
        tasks.translation(**fields)


def test_typed_and_read_texts_name_what_is_wrong(tmp_path):
    spec = {'context': ((), texts.TEXT), 'question': ((), texts.TEXT), 'label': ((), np.int32)}
    names, found = inputs.typed(['question=Where?', 'context=Here.'], spec)
    assert names == ['Where? | Here.'] and found['context'].tolist() == ['Here.']
    (tmp_path / 'a.jsonl').write_text('{"question": "Q", "context": "C"}\n')
    (tmp_path / 'b.txt').write_text('C\n')
    (tmp_path / 'c.jsonl').write_text('{"text": "Q"}\n')
    _, found = inputs.read([str(tmp_path / 'a.jsonl')], spec)
    assert found['question'].tolist() == ['Q']
    for act, words in (
        (lambda: inputs.typed(['query=Q'], spec), "unknown field of text 'query'"),
        (lambda: inputs.typed(['question='], spec), 'expected FIELD=TEXT'),
        (
            lambda: inputs.read([str(tmp_path / n) for n in ('a.jsonl', 'b.txt')], spec),
            'this run reads',
        ),
        (lambda: inputs.read([str(tmp_path / 'c.jsonl')], spec), 'none of the fields of text'),
        (lambda: inputs.read([str(tmp_path / 'd.txt')], spec, 'context'), 'no file'),
    ):
        with pytest.raises(UserError, match=words) as error:
            act()
        assert '\n' not in str(error.value)
