"""`nnjax predict` for a verifier: a pair of examples, or the nearest of a gallery."""

from nnjax.cli import options
from nnjax.errors import UserError


def check(parsed: options.Options) -> None:
    """Refuses flags that do not go together."""
    if parsed.flags.pair and parsed.flags.gallery:
        raise UserError('--pair and --gallery=FOLDER: choose one')
    if parsed.flags.picture and (parsed.flags.pair or parsed.flags.gallery):
        raise UserError('--picture draws single predictions: leave it out, or --pair and --gallery')
    if parsed.flags.pair and len(parsed.arguments) != 2:
        raise UserError(f'--pair compares two files, not {len(parsed.arguments)}')


def rows(folder, made, state, names, predictions, gallery) -> list[dict]:
    """What --pair writes of a run folder, or --gallery of these (names, raw arrays)."""
    from nnjax.analysis import matching
    from nnjax.training import predict

    if 'embedding' not in predictions:
        raise UserError(f'{made.config.task.fn} predicts no embeddings to compare')
    limit = matching.threshold(folder)
    embeddings = predictions['embedding']
    if gallery:
        known, arrays = gallery
        theirs = predict.predict(made, state, arrays)['embedding']
        return matching.gallery(names, embeddings, known, theirs, limit)
    if len(names) != 2:
        raise UserError(f'--pair compares two examples, the files hold {len(names)}')
    return matching.pair(names, embeddings, limit)
