"""One line of JSON for every file of a run, and of the runs before into the same folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from depth_pro_ros.images import WriteError, write_aside

Record = dict[str, Any]


class Summary:
    """Keeps `summary.jsonl`: the last record of each input, written as soon as it is known."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._records: dict[str, Record] = {}
        lines = path.read_text(errors='replace').splitlines() if path.is_file() else []
        for line in lines:
            try:
                record = json.loads(line)
                self._records[record['input']] = record
            except (ValueError, KeyError, TypeError):
                pass  # the last line of a run that was killed
        self._has_stale_lines = len(lines) != len(self._records)

    def add(self, record: Record) -> None:
        """Append a record, unless it stands there already. Raises WriteError."""
        known = self._records.get(record['input'])
        if known == record:
            return
        self._has_stale_lines |= known is not None
        self._records[record['input']] = record
        try:
            with self.path.open('a') as file:
                file.write(json.dumps(record) + '\n')
        except OSError as error:
            raise WriteError(f'cannot write {self.path}: {error.strerror}') from error

    def close(self) -> None:
        """Drop the lines that later ones have replaced. Raises WriteError."""
        if self._has_stale_lines:
            text = ''.join(json.dumps(record) + '\n' for record in self._records.values())
            write_aside(self.path, lambda aside: aside.write_text(text))
            self._has_stale_lines = False
