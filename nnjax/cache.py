"""Where nnjax keeps what it can make again: data, compiled programs, CPU kernels."""

import os
from pathlib import Path


def root() -> Path:
    """NNJAX_CACHE_DIR, or nnjax in the user's cache folder."""
    if own := os.environ.get('NNJAX_CACHE_DIR'):
        return Path(own)
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'nnjax'
