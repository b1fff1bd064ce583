"""What a diary file must come to, computed by a plain script that knows none of the product's code.

``python tests/support/diary.py FILE`` prints it as JSON.
"""

from __future__ import annotations

import calendar
import datetime
import json
import sys
from pathlib import Path
from typing import Any

PEPYS = next(
    (
        found
        for parent in Path(__file__).resolve().parents
        if (found := parent / "shared" / "data" / "pepys-diary.jsonl").exists()
    ),
    None,
)
"""Ten years of a real diary; None where it is not at hand."""


class Diary:
    """The entries that the rules allow, by date, and why the other lines are refused."""

    def __init__(self, path: Path) -> None:
        self.entries: dict[str, dict[str, Any]] = {}
        self.refused: dict[int, list[tuple[str, str]]] = {}
        for number, raw in enumerate(path.read_text("utf-8").split("\n"), 1):
            if not raw.strip():
                continue
            entry = json.loads(raw)
            faults = [
                (name, "too_long" if len(entry[name]) > most else "too_short")
                for name, most in (("title", 200), ("content", 10_000))
                if not 1 <= len(entry[name]) <= most
            ]
            if not faults and entry["date"] in self.entries:
                faults = [("date", "duplicate_entry_date")]
            if faults:
                self.refused[number] = faults
            else:
                self.entries[entry["date"]] = entry

    def runs(self) -> list[tuple[datetime.date, datetime.date]]:
        """First and last day of each run of consecutive days."""
        found: list[tuple[datetime.date, datetime.date]] = []
        for text in sorted(self.entries):
            date = datetime.date.fromisoformat(text)
            if found and date - found[-1][1] == datetime.timedelta(1):
                found[-1] = (found[-1][0], date)
            else:
                found.append((date, date))
        return found

    def streak(self, today: datetime.date) -> dict[str, Any]:
        """The answer of the streak call on that day."""
        runs = self.runs()
        current = [run for run in runs if run[0] <= today <= run[1] + datetime.timedelta(1)]
        return {
            "current": (current[0][1] - current[0][0]).days + 1 if current else 0,
            "longest": max(((last - first).days + 1 for first, last in runs), default=0),
            "last_entry_date": str(runs[-1][1]) if runs else None,
            "streak_start_date": str(current[0][0]) if current else None,
        }

    def statistics(self) -> dict[str, int]:
        """Totals."""
        words = sum(len(entry["content"].split()) for entry in self.entries.values())
        count = len(self.entries)
        return {
            "total_entries": count,
            "total_words": words,
            "avg_words_per_entry": words // count if count else 0,
        }

    def month(self, year: int, month: int) -> list[dict[str, Any]]:
        """The answer of the calendar call."""
        days = []
        for day in range(1, calendar.monthrange(year, month)[1] + 1):
            date = str(datetime.date(year, month, day))
            entry = self.entries.get(date)
            days.append(
                {
                    "date": date,
                    "mood": entry.get("mood") if entry else None,
                    "has_entry": entry is not None,
                    "word_count": len(entry["content"].split()) if entry else 0,
                }
            )
        return days


def main() -> None:
    """Print what the file must come to."""
    diary = Diary(Path(sys.argv[1]))
    today = datetime.datetime.now(datetime.UTC).date()
    whole = {
        "accepted": len(diary.entries),
        "refused": diary.refused,
        "streak": diary.streak(today),
        "statistics": diary.statistics(),
    }
    json.dump(whole, sys.stdout, indent=2)


if __name__ == "__main__":
    main()
