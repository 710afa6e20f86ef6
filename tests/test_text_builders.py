"""Data sets of texts that nnjax makes itself: what they hold, and that splits share nothing."""

import itertools
import re
import struct
import zlib
from collections import Counter

import numpy as np
import pytest

from nnjax.data import builders, sources
from nnjax.data.builders import (
    descriptions,
    number_words,
    opinions,
    stories,
    sword,
    verses_en_es,
    wordnet_glosses,
)
from nnjax.data.text import duplicates
from nnjax.errors import UserError


def everything(source):
    return source[np.arange(len(source))]


def test_numbers_in_words_are_those_of_num2words():
    words = pytest.importorskip('num2words').num2words
    for number in [*range(1300), *range(1300, number_words.COUNT, 7)]:
        assert number_words.english(number) == words(number, lang='en')
        assert number_words.german(number) == words(number, lang='de')


def test_numbers_in_words():
    found = {0: 'null', 1: 'eins', 21: 'einundzwanzig', 101: 'einhunderteins'}
    found |= {2345: 'zweitausenddreihundertfünfundvierzig', 1016: 'eintausendsechzehn'}
    assert {number: number_words.german(number) for number in found} == found
    assert number_words.english(2345) == 'two thousand, three hundred and forty-five'
    assert number_words.english(7001) == 'seven thousand and one'


def test_sixteen_pairs_of_digits_are_met_in_test_alone():
    made = sources.Tfds('number_words', valid='valid')
    assert [len(s) for s in (made.train, made.valid, made.test)] == [8000, 400, 1600]
    number = {number_words.english(n): n for n in range(10_000)}
    pairs, digits = [], []
    for split in (made.train, made.valid, made.test):
        found = everything(split)
        numbers = [number[text] for text in found['source'].tolist()]
        assert found['target'].tolist() == [number_words.german(n) for n in numbers]
        pairs.append({(n // 100 % 10, n % 10) for n in numbers})
        digits.append([{pair[place] for pair in pairs[-1]} for place in (0, 1)])
    assert [len(p) for p in pairs] == [80, 4, 16]
    assert not pairs[0] & pairs[2] and not pairs[1] & (pairs[0] | pairs[2])
    assert digits[0] == [set(range(10))] * 2


def test_stories_say_where_everyone_is():
    for split in stories.SPLITS:
        for row, _ in zip(stories.examples(split), range(300)):
            start, answer = row['answer_start'], row['answer']
            assert row['context'][start : start + len(answer)] == answer
            assert answer == told(row['context'], row['question'])


def told(context: str, question: str) -> str:
    """The answer, read from the sentences alone."""
    where, has = {}, {}
    for sentence in context.removesuffix('.').split('. '):
        who, *words = sentence.split()
        if 'to the' in sentence:
            where[who] = words[-1]
        else:
            thing = words[-2] if words[-1] == 'there' else words[-1]
            taken = re.search('picked up|took|grabbed', sentence)
            has[thing] = who if taken else where[who]
    asked = question.removesuffix('?').removeprefix('Where is ').removeprefix('the ')
    place = has.get(asked, asked)
    return where.get(place, place)


def test_templates_of_the_test_stories_are_met_nowhere_else():
    def templates(split):
        names = '|'.join((*stories.PEOPLE, *stories.PLACES, *stories.THINGS))
        found = [row['context'] for row, _ in zip(stories.examples(split), range(400))]
        plain = re.sub(rf'\b({names})\b', '_', ' '.join(found))
        return set(plain.replace('. ', '.|').split('|'))

    train, valid, test = (templates(split) for split in ('train', 'valid', 'test'))
    assert train == valid and not train & test and len(train) == 12 + 4 + 4 and len(test) == 8
    words = lambda sentences: set(' '.join(sentences).split())
    assert words(test) <= words(train)


def test_stories_are_their_seed_and_some_are_long():
    lengths = {s: [r['context'].count('.') for r in stories.examples(s)] for s in stories.SPLITS}
    assert {s: len(found) for s, found in lengths.items()} == stories.SPLITS
    assert {s: (min(found), max(found)) for s, found in lengths.items()} == {
        'train': (2, 14),
        'valid': (6, 14),
        'test': (6, 14),
        'long': (15, 24),
    }
    assert list(stories.examples('valid')) == list(stories.examples('valid'))


def test_stories_of_both_questions_are_as_often_short():
    """Things are rarely touched in two sentences; what tells nothing of them is told anew."""
    rows = list(itertools.islice(stories.examples('train'), 4000))
    lengths = {True: [], False: []}
    for row in rows:
        lengths['the ' in row['question']].append(row['context'].count('.'))
    # the square of an even draw is below 1 in 13 with chance 1 / sqrt(13)
    for found in lengths.values():
        assert np.mean(np.equal(found, 2)) == pytest.approx(13**-0.5, abs=0.03)


def test_opinions_need_the_order_of_words():
    """The class by the grammar; a classifier of single words stays far from it."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    train, test = (list(opinions.examples(split)) for split in ('train', 'test'))
    assert (len(train), len(test)) == (4000, 1000)
    valid = {row['text'] for row in opinions.examples('valid')}
    assert len(valid) == 500
    assert not {row['text'] for row in train} & (valid | {row['text'] for row in test})
    for row in train[:500] + test:
        last = re.split(r', (?:but|yet) | and ', row['text'])[-1]
        last = re.sub(r'^although .*, |, although .*$', '', last)
        good = any(last.endswith(word) for word in opinions.WORDS[1])
        negated = any(f' {word}' in last for word in opinions.NEGATIONS)
        assert row['label'] == (good != negated)
    words = CountVectorizer().fit([row['text'] for row in train])
    sums = [words.transform([row['text'] for row in rows]) for rows in (train, test)]
    linear = LogisticRegression().fit(sums[0], [row['label'] for row in train])
    assert linear.score(sums[1], [row['label'] for row in test]) < 0.8


NOUNS = """  1 a licence
00001740 03 n 01 entity 0 003 ~ 00001930 n 0000 | that which is perceived
00001930 05 n 01 cat 0 000 | a small animal; "the cat sat"
00001931 06 n 01 cup 0 000 | a thing to drink from
00001932 06 n 01 mug 0 000 | A thing, to drink from
00001933 06 n 01 odd 0 000 | two classes
00001934 28 n 01 odd 0 000 | two classes
00001935 28 n 01 day 0 000 | a day
"""


def test_glosses_are_read_once_each(tmp_path):
    (tmp_path / 'data.noun').write_text(NOUNS)
    found = wordnet_glosses.glosses(tmp_path / 'data.noun')
    assert len(found) == 6 and found[0] == ('a small animal', 1)
    assert wordnet_glosses.unique(found) == [
        ('a small animal', 1),
        ('a thing to drink from', 2),
        ('a day', 24),
    ]
    (tmp_path / 'data.noun').write_text('nothing')
    with pytest.raises(UserError, match=r'data\.noun, line 1: no line of data\.noun'):
        wordnet_glosses.glosses(tmp_path / 'data.noun')


def module(path, old: list[str], new: list[str]):
    """Writes a SWORD module in the format zText, two blocks a testament."""
    path.mkdir(parents=True)
    for name, found in (('ot', old), ('nt', new)):
        index, blocks, text = b'', b'', b''
        for block, part in enumerate((found[:2], found[2:])):
            at = b''
            for verse in part:
                raw = verse.encode()
                index += struct.pack('<IIH', block, len(at), len(raw))
                at += raw
            packed = zlib.compress(at)
            blocks += struct.pack('<III', len(text), len(packed), len(at))
            text += packed
        for kind, content in (('bzs', blocks), ('bzv', index), ('bzz', text)):
            (path / f'{name}.{kind}').write_bytes(content)


@pytest.fixture
def bible(tmp_path, monkeypatch):
    words = 'light water land tree bird fish beast man woman child king lamb'.split()
    old = [f'<w>And</w> the {a} saw the {b} of day <note>x</note>' for a in words for b in words]
    new = ['', 'In the end', 'was the word, and the word was good']
    root = tmp_path / 'usr/share/sword/modules/texts/ztext'
    module(root / 'engKJV2006eb', old, new)
    module(root / 'spaRV1909eb', [f'Y el ¶ {text}' for text in old], ['', 'Al fin', 'x'])
    monkeypatch.setenv('NNJAX_DEB_ROOT', str(tmp_path))
    monkeypatch.setenv('NNJAX_DATA_DIR', str(tmp_path / 'tfds'))
    monkeypatch.setenv('NNJAX_CACHE_DIR', str(tmp_path / 'cache'))
    return root


def test_verses_are_read_without_their_markup(bible):
    found = sword.verses(bible / 'engKJV2006eb')
    assert len(found) == 147 and found[0] == 'And the light saw the light of day'
    assert found[-3:] == ['', 'In the end', 'was the word, and the word was good']
    (bible / 'engKJV2006eb/nt.bzz').write_bytes(b'xx')
    with pytest.raises(UserError, match=r'nt\.bzz is damaged'):
        sword.verses(bible / 'engKJV2006eb')


def test_pairs_of_verses_are_alike_in_length_and_near_duplicates_in_one_split(bible):
    made = sources.Tfds('verses_en_es', valid='valid')
    sizes = [len(s) for s in (made.train, made.valid, made.test)]
    assert sum(sizes) == 145 and min(sizes) >= 145 // 20  # the pair of 'x' is left out
    rows = [everything(s)['source'].tolist() for s in (made.train, made.valid, made.test)]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        joined = [*rows[one], *rows[other]]
        groups = duplicates.groups(joined)
        assert not set(groups[: len(rows[one])]) & set(groups[len(rows[one]) :])


def test_near_duplicates_are_linked():
    found = [
        'and it came to pass in those days that he went',
        'a quite different sentence about nothing at all',
        'and it came to pass in those days that she went',
        'now it came to pass in those days that she left',
    ]
    assert len(set(duplicates.groups(found)[[0, 2, 3]])) == 1
    assert len(set(duplicates.groups(found))) == 2
    assert verses_en_es.pairs(['a', 'a', 'abc', ''], ['b', 'b', 'abcdefg', 'x']) == [('a', 'b')]


def test_the_long_text_is_cut_in_order(bible):
    made = sources.Text(name='kjv', length=100, valid='5%', test='5%')
    whole = '\n'.join(text for text in sword.verses(bible / 'engKJV2006eb') if text)
    join = lambda rows: rows[0][0] + ''.join(window[1:] for window in rows)
    parts = [join(everything(s)['text'].tolist()) for s in (made.train, made.valid, made.test)]
    assert ''.join(parts) == whole and len(parts[2]) == round(0.05 * len(whole))


@pytest.mark.parametrize(
    'name, package',
    [
        ('wordnet_glosses', 'wordnet-base'),
        ('kjv', 'sword-text-kjv'),
        ('verses_en_es', 'sword-text-kjv'),
    ],
)
def test_a_missing_package_is_named(name, package, tmp_path, monkeypatch):
    monkeypatch.setenv('NNJAX_DEB_ROOT', str(tmp_path))
    with pytest.raises(UserError, match=f'{name} is not prepared: .*Debian package {package}') as e:
        builders.prepare(name, str(tmp_path))
    assert '\n' not in str(e.value)


def listed(package: str, language: str, paragraphs: list[str]) -> str:
    """An entry of apt's list of descriptions."""
    short, *long = paragraphs
    body = '\n .\n'.join(' ' + text.replace('\n', '\n ') for text in long)
    name = f'Package: {package}\nDescription-md5: {abs(hash(package)):x}\n'
    return f'{name}Description-{language}: {short}\n{body}\n'


def test_descriptions_are_matched_by_paragraph_and_sentence(tmp_path):
    english = [
        'a tool',
        'One sentence\nof it. Two of it.',
        '* a list\n* of things',
        'Kept as it is.',
    ]
    german = [
        'ein Werkzeug',
        'Ein Satz davon. Ein zweiter davon.',
        '* eine Liste',
        'Kept as it is.',
    ]
    other = ['a cup', 'One and only. Really so.']
    theirs = ['eine Tasse', 'Nur ein Satz, nicht zwei.']
    for language, first, second in (('en', english, other), ('de', german, theirs)):
        entries = listed('tool', language, first), listed('cup', language, second)
        name = f'x_main_i18n_Translation-{language}'
        (tmp_path / name).write_text('\n'.join(entries), encoding='utf-8')
    found = [
        descriptions.read(descriptions._find(tmp_path, language), language)
        for language in ('en', 'de')
    ]
    assert descriptions.sentences(*found) == [
        ('tool', 'a tool', 'ein Werkzeug'),
        ('tool', 'One sentence of it.', 'Ein Satz davon.'),
        ('tool', 'Two of it.', 'Ein zweiter davon.'),
        ('cup', 'a cup', 'eine Tasse'),
    ]
    with pytest.raises(
        UserError, match=r'no Translation-fr in .*; run: apt-get update -o'
    ) as error:
        builders.prepare('descriptions', str(tmp_path), str(tmp_path))
    assert '\n' not in str(error.value)


def test_a_package_is_in_one_split_and_test_has_nothing_nearly_of_training():
    words = 'light water land tree bird fish beast man woman child king lamb'.split()
    found = [
        (f'{a}{b}', f'{number} {a}{b} do what {a} and {b} cannot', 'x')
        for a in words
        for b in words
        for number in range(4)
    ]
    found += [(name, f'this package holds the files of {name}', 'x') for name, _, _ in found[::4]]
    package = {source: name for name, source, _ in found}
    parts = descriptions.split(found)
    held = [{package[row['source']] for row in rows} for rows in parts.values()]
    fewer = [row for row in found if 'land' not in row[0]]  # of another language
    again = [{package[row['source']] for row in r} for r in descriptions.split(fewer).values()]
    assert not (again[0] & (held[1] | held[2]) or again[1] & held[2])
    assert all(held) and len(parts['']) > len(found) * 0.8
    assert not (held[0] & held[1] or held[0] & held[2] or held[1] & held[2])
    texts = [[row['source'] for row in rows] for rows in parts.values()]
    groups = duplicates.groups([*texts[0], *texts[2]])
    assert not set(groups[: len(texts[0])]) & set(groups[len(texts[0]) :])


def test_rows_are_held_out_by_whole_groups():
    groups = np.repeat(np.arange(40), np.arange(40) % 4 + 1)
    parts = duplicates.apart(groups, [10, 20])
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(groups)))
    assert 10 <= len(parts[0]) < 14 and 17 <= len(parts[1]) < 24  # a group more at most
    held = [set(groups[rows].tolist()) for rows in parts]
    assert not (held[0] & held[1] or held[0] & held[2] or held[1] & held[2])


def debian(name: str):
    try:
        return sources.Tfds(name, valid=None)
    except UserError as error:
        pytest.skip(str(error))


@pytest.mark.slow
def test_wordnet_has_25_classes():
    made = debian('wordnet_glosses')
    assert len(made.train) + len(made.test) == 81_419 and len(made.labels) == 25
    assert 12_000 <= len(made.test) < 12_100
    texts = everything(made.train)['text'].tolist() + everything(made.test)['text'].tolist()
    assert len({' '.join(re.findall(r'\w+', text.lower())) for text in texts}) == len(texts)
    share = Counter(everything(made.test)['label'].tolist()).most_common(1)[0][1] / 12_000
    assert 0.13 < share < 0.16


@pytest.mark.slow
def test_verses_are_about_thirty_thousand():
    made = debian('verses_en_es')
    assert len(made.train) + 2 * len(made.test) == pytest.approx(30_846, abs=60)
