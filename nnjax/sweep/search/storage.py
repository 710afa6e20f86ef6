"""A study's database: opened, and its failures in one line."""

import contextlib
import time
from collections.abc import Iterator

from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from nnjax.errors import UserError

SECONDS = 30  # that a write waits for the other workers of an SQLite file


def opened(url: str | None) -> RDBStorage | None:
    """The database behind a URL; several workers may make its tables at once."""
    if url is None:
        return None
    options = {'connect_args': {'timeout': SECONDS}} if url.startswith('sqlite') else {}
    races = ('exists', 'UNIQUE', 'no such table')
    for left in reversed(range(10)):
        try:
            return RDBStorage(url, engine_kwargs=options)
        except SQLAlchemyError as error:
            if not left or not any(word in str(error) for word in races):
                raise
            time.sleep(0.2)
        except ImportError as error:
            raise UserError(f'--storage={shown(url)}: {error.__cause__ or error}') from None


@contextlib.contextmanager
def usable(url: str | None) -> Iterator[None]:
    """A storage that fails is a UserError of one line, without its password."""
    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        cause = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        reason = (str(cause).splitlines() or [type(cause).__name__])[0]
        raise UserError(f'--storage={shown(url)}: {reason}') from None


def shown(url: str | None) -> str:
    """A storage's URL without its password."""
    try:
        return make_url(url).render_as_string(hide_password=True) if url else 'memory'
    except ArgumentError:
        return url
