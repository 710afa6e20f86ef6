"""Sources of sounds: what a config's `data` section may bind, see `nnjax.data.sources`."""

from pathlib import Path

from nnjax.data import recordings
from nnjax.data.source import Dataset, Source, dataset, is_share
from nnjax.fields import Count, Positive


def Sounds(
    path: str,
    rate: Count = 16000,
    seconds: Positive | None = 1.0,
    valid: str | None = '10%',
    test: str | None = '10%',
    skip_corrupt: bool = False,
) -> Dataset:
    """Sounds in one folder a class: PATH/CLASS/*.wav, .flac or .ogg, or PATH/train/CLASS/* and so on.

    Args:
      path: the folder
      rate: samples a second that all are converted to, once
      seconds: longest sound; of longer ones the middle is used; None is the longest there is
      valid: share or number held out, where there is no folder valid (or val), or None
      test: share or number held out, where there is no folder test, or None
      skip_corrupt: leave out sounds that are damaged, empty or silent
    """
    root = Path(path).expanduser()
    nested = (root / 'train').is_dir()
    first = root / 'train' if nested else root
    train, labels = recordings.by_class(first, rate, seconds, None, skip_corrupt)
    longest = train.spec['audio'][0][0] / rate

    def own(*names: str) -> Source | None:
        found = [root / name for name in names if nested and (root / name).is_dir()]
        if not found:
            return None
        return recordings.by_class(found[0], rate, longest, labels, skip_corrupt)[0]

    return dataset(train, own('valid', 'val') or valid, own('test') or test, labels, rate=rate)


def Transcribed(
    path: str,
    rate: Count = 16000,
    seconds: Positive = 16.0,
    valid: str | None = '10%',
    test: str | None = '10%',
    skip_corrupt: bool = False,
) -> Dataset:
    """Sounds with their texts: a .jsonl or .tsv of path and text.

    Args:
      path: the list; paths in it are relative to its folder
      rate: samples a second that all are converted to, once
      seconds: longest sound; a longer one is refused
      valid: another list, or a share or number held out, or None
      test: another list, or a share or number held out, or None
      skip_corrupt: leave out sounds that are damaged, empty or silent
    """

    def own(text: str | None) -> Source | str | None:
        if text is None or is_share(text):
            return text
        return recordings.manifest(Path(text).expanduser(), rate, seconds, skip_corrupt)

    return dataset(own(path), own(valid), own(test), (), rate=rate)
