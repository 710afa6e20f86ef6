"""Synthetic speech: the same bits each time, no voice in two splits."""

import hashlib

import numpy as np
import pytest

from nnjax.data import builders
from nnjax.data.builders import (
    asterisk_prompts,
    espeak,
    espeak_commands,
    espeak_digits,
    fillets_dialogues,
)
from nnjax.errors import UserError

pytest.importorskip('espeakng_loader')


def test_voices_of_splits_are_their_own():
    variants = {s: {v.split('+')[1] for v in espeak.voices(s)} for s in espeak.SPLITS}
    assert not variants['train'] & variants['test'] and not variants['train'] & variants['valid']
    assert not variants['valid'] & variants['test']
    assert not espeak.UNSTEADY & set.union(*variants.values())


@pytest.mark.parametrize('module', [espeak_commands, espeak_digits])
def test_the_same_bits_each_time(module):
    digest = lambda rows: hashlib.sha256(b''.join(row[0].tobytes() for row in rows)).hexdigest()
    first, again = (list(module.examples('valid', 12)) for _ in range(2))
    assert digest(first) == digest(again)
    assert [row[1:] for row in first] == [row[1:] for row in again]
    assert digest(first) != digest(list(module.examples('test', 12)))


def test_digits_say_what_their_texts_do():
    for audio, length, text in espeak_digits.examples('valid', 6):
        assert audio.shape == (espeak_digits.LENGTH,) and audio.dtype == np.int16
        assert not audio[length:].any() and length > 1000 * len(text.split())
        assert set(text.split()) <= set(espeak_digits.WORDS) and 2 <= len(text.split()) <= 6


def test_a_voice_that_is_not_there_is_named():
    with pytest.raises(UserError, match="no voice 'xx'"):
        list(espeak.speak([espeak.Request('one', 'xx', 150, 50, 50)], 8000))


@pytest.mark.parametrize(
    'text, said',
    [
        ('Please press 1 to mute.', 'please press one to mute'),
        ("Don't [beep] go!", "don't go"),
        ('Extension 4711.', ''),
        ('[ascending tones]', ''),
    ],
)
def test_transcripts_of_prompts(text, said):
    assert asterisk_prompts.plain(text) == said


LUA = r"""
function prog_init()
    dialogId("let-m-divna", "font_small", "What a strange ship.")
    dialogStr("Divná loď.")

    dialogId( "let-v-rek" , "font_big", "He said: \"no\"." )
        dialogStr("Řekl: \"ne\".")
    dialogId("lost", "font_small", "No subtitle")
    planDialog(0, 2, "let-m-divna")
"""


def test_lines_of_a_script():
    assert fillets_dialogues.LINE.findall(LUA) == [
        ('let-m-divna', 'Divná loď.'),
        ('let-v-rek', r'Řekl: \"ne\".'),
    ]


def test_builders_of_sounds_say_their_rate():
    known = {name: rate for name in builders.OWN if (rate := builders.rate(name))}
    assert known == {
        'asterisk_prompts': 8000,
        'espeak_commands': 16000,
        'espeak_digits': 8000,
        'fillets_dialogues': 8000,
    }
    assert builders.rate('librispeech/default') is None


def test_a_missing_package_is_named(tmp_path):
    with pytest.raises(UserError, match='Debian package asterisk-core-sounds-en'):
        asterisk_prompts.builder(str(tmp_path))
