"""report.html of a run folder: what is shown, in which order; the template says how."""

import os
import re
from pathlib import Path
from typing import Any

from nnjax.report import answers, findings, folder, scores

TEMPLATE = 'report.html.jinja'


def write(path: Path) -> Path:
    """run folder -> its report.html, replaced in one move. Raises UserError for no run folder."""
    return save(path / 'report.html', TEMPLATE, contents(folder.read(path)))


def save(target: Path, template: str, shown: dict[str, Any]) -> Path:
    """The template with what it shows -> `target`, replaced in one move."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    text = environment.get_template(template).render(shown)
    draft = target.with_suffix('.html.draft')
    draft.write_text(text, encoding='utf-8')
    os.replace(draft, target)
    return target


def contents(run: folder.Run) -> dict[str, Any]:
    """Everything that the template shows."""
    found = answers.answers(run)
    notes = list(run.notes)
    if found and found['dropped']:
        notes.append(
            f'{found["dropped"]:,} predictions with no finite value or label are left out.'
        )
    shown = {
        'kind': 'report',
        'title': run.experiment,
        'name': run.name,
        'about': about(run),
        'finished': bool(run.final),
        'begun': bool(run.records or run.final),
        'split': str(run.final['split']) if run.final else 'test',
        'progress': scores.progress(run),
        'headline': scores.headline(run, answers.interval(found)),
        'notes': notes,
        'findings': scores.findings(run),
        'curves': scores.curves(run),
        'table': scores.table(run),
        'classes': answers.classes(run, found),
        'confusion': answers.confusion(found) if found and len(found['label']) else None,
        'calibration': answers.calibration(found) if found else None,
        'mistakes': answers.mistakes(run, found),
        'predictions': findings.sections(run),
        'sections': sections(run.config),
        'environment': {name: words(value) for name, value in run.environment.items()},
        'reproduce': reproduce(run.environment),
    }
    links = {
        'curves': ('Curves', shown['curves']),
        'scores': ('Scores', shown['table']['rows'] or shown['classes']),
        'answers': ('Confusion', shown['confusion']),
        'calibration': ('Calibration', shown['calibration']),
        'mistakes': ('Mistakes', shown['mistakes']),
        **{part.id: (part.title, part.cards) for part in shown['predictions']},
        'config': ('Config', shown['sections']),
        'environment': ('Environment', shown['environment']),
    }
    return shown | {'links': [(id, name) for id, (name, there) in links.items() if there]}


def about(run: folder.Run) -> list[str]:
    """The model, the data and the optimizer in a word each, as far as the config names them."""
    parts = []
    for name in ('model', 'data', 'optim'):
        section = run.config.get(name)
        if isinstance(section, dict):
            said = section.get('name') or str(section.get('fn', '')).rpartition('.')[2]
            parts += [str(said)] if said else []
    return parts


def sections(config: dict[str, Any]) -> list[dict]:
    """The config as {name, fn, rows of (dotted field, value)}; loose top-level fields come first."""
    loose = {name: value for name, value in config.items() if not isinstance(value, dict)}
    found = [{'name': 'run', 'fn': '', 'rows': list(_flat(loose))}] if loose else []
    for name, value in config.items():
        if isinstance(value, dict):
            rows = [(field, text) for field, text in _flat(value) if field != 'fn']
            found.append({'name': name, 'fn': words(value.get('fn', '')), 'rows': rows})
    return found


def _flat(section: dict[str, Any], before: str = ''):
    for name, value in section.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f'{before}{name}.')
        else:
            yield f'{before}{name}', words(value)


def words(value: Any) -> str:
    """A JSON value as a person types it: strings bare, the rest as Python."""
    return value if isinstance(value, str) else repr(value)


def reproduce(environment: dict[str, Any]) -> str:
    """Shell lines that run it again: the commit where one is recorded, then the command."""
    command = environment.get('command')
    if not command:
        return ''
    named = [value for name, value in environment.items() if 'commit' in name.lower()]
    commit = re.match(r'([0-9a-f]{7,40})\b(\+?)', str(named[0])) if named else None
    if not commit:
        return words(command)
    dirty = '  # and changes that were not committed' if commit[2] else ''
    return f'git checkout {commit[1]}{dirty}\n{words(command)}'
