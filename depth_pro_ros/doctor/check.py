"""One finding, and how all of them look on a screen."""

from __future__ import annotations

import dataclasses
import sys
import textwrap
from collections.abc import Sequence
from typing import Literal

Status = Literal['ok', 'warn', 'fail']


@dataclasses.dataclass(frozen=True)
class Check:
    """What was looked at, what was found, and what to do about it."""

    name: str
    status: Status
    """fail: the node would not run; warn: it would, but not as well as it could."""
    found: str
    remedy: str = ''


def pip_install(packages: str) -> str:
    """Give the command that installs packages for the Python that runs here."""
    return f'{sys.executable} -m pip install {packages}'


def would_run(checks: Sequence[Check]) -> bool:
    """Tell whether nothing keeps the node from running."""
    return all(check.status != 'fail' for check in checks)


def screen(checks: Sequence[Check], columns: int) -> str:
    """Give the checks as text, one below the other, and the verdict."""
    name_width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        first = f'{check.status:<4}  {check.name:<{name_width}}  '
        lines.append(filled(check.found, columns, first))
        if check.remedy:
            lines.append(filled(check.remedy, columns, '-> '.rjust(len(first))))
    counts = {status: sum(c.status == status for c in checks) for status in ('fail', 'warn')}
    verdict = 'The node would run' if would_run(checks) else 'The node would not run'
    return '\n'.join(
        [*lines, '', f'{verdict}: {counts["fail"]} failed, {counts["warn"]} to improve']
    )


def filled(text: str, columns: int, first: str) -> str:
    """Give text in lines of at most `columns`, the first one after `first`, the rest below it."""
    return textwrap.fill(
        text,
        columns,
        initial_indent=first,
        subsequent_indent=' ' * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    )
