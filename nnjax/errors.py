"""The one exception for a user's mistake: the command line prints its single line and exits 2."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in what the user typed; its message is one line: what came, what is allowed."""

    exit_code = 2


def nearest(name: str, allowed: Iterable[str]) -> str:
    """name, allowed names -> '; did you mean X?' (empty if nothing is near) for an error's end."""
    matches = difflib.get_close_matches(str(name), list(allowed), n=1, cutoff=0.5)
    return f'; did you mean {matches[0]!r}?' if matches else ''


def unknown(kind: str, name: str, allowed: Iterable[str]) -> UserError:
    """'unknown optimizer 'adm'; did you mean 'adam'? (allowed: ...)' as an error to raise."""
    names = sorted(allowed)
    listed = ', '.join(names[:20]) + (' ...' if len(names) > 20 else '')
    return UserError(f'unknown {kind} {name!r}{nearest(name, names)} (allowed: {listed})')


class Diverged(UserError):
    """Training produced a loss that is not finite."""

    exit_code = 3


class Interrupted(UserError):
    """Training was stopped by a signal, after a checkpoint."""

    exit_code = 130
