"""Bible texts of the SWORD project, as Debian's packages sword-text-* have them."""

import re
import struct
import zlib
from pathlib import Path

from nnjax.data.builders import made
from nnjax.errors import UserError

MODULES = {'engKJV2006eb': 'sword-text-kjv', 'spaRV1909eb': 'sword-text-sparv'}
PARTS = [f'{testament}.{kind}' for testament in ('ot', 'nt') for kind in ('bzs', 'bzv', 'bzz')]


def folder(name: str, module: str, source: str | None = None) -> Path:
    """The folder of a module of the data set `name`: under `source`, or Debian's.

    Raises:
      UserError: it is not there; the line names the package.
    """
    place = f'usr/share/sword/modules/texts/ztext/{module}'
    given = str(Path(source) / module) if source else None
    return made.debian(name, MODULES[module], place, given, *PARTS)


def verses(path: Path) -> list[str]:
    """A module in the format zText -> the text of every place of its versification, in order.

    Modules of one versification have the same verse at the same place. Places without a verse,
    such as headings of chapters, are empty.

    Raises:
      UserError: damaged files.
    """
    found = []
    for testament in ('ot', 'nt'):
        blocks, index, text = (
            (path / f'{testament}.{k}').read_bytes() for k in ('bzs', 'bzv', 'bzz')
        )
        try:
            whole = [
                zlib.decompress(text[start : start + size])
                for start, size, _ in struct.iter_unpack('<III', blocks)
            ]
            for block, start, size in struct.iter_unpack('<IIH', index):
                raw = whole[block][start : start + size] if size else b''
                found.append(plain(raw.decode()))
        except (struct.error, zlib.error, IndexError, UnicodeDecodeError) as error:
            raise UserError(f'{path}/{testament}.bzz is damaged: {error}') from None
    return found


def plain(text: str) -> str:
    """A verse without its markup, notes and headings."""
    text = re.sub(r'<note.*?</note>|<title.*?</title>|<RF>.*?<Rf>', '', text, flags=re.S)
    return ' '.join(re.sub(r'<[^>]+>', '', text).split()).strip(' ¶')
