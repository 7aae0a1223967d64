"""A table to be read: what commands return that make no picture."""
from dataclasses import dataclass, field


@dataclass(eq=False)
class Report:
    """Rows under named columns. Values stay what they are (numbers, strings, tuples, None); `text` spells them out.

    table    {column: [value of each row]}
    title, notes    a line above and lines below
    """
    table: dict
    title: str = ""
    notes: list = field(default_factory=list)

    def rows(self):
        """One dict per row."""
        return [dict(zip(self.table, values)) for values in zip(*self.table.values())]

    def to_dict(self):
        """For --json."""
        return {"title": self.title, "rows": self.rows(), "notes": list(self.notes)}

    def text(self):
        """Columns aligned, numbers to the right."""
        columns = [[name, *map(spell, values)] for name, values in self.table.items()]
        numeric = [all(isinstance(v, int | float) for v in values) for values in self.table.values()]
        widths = [max(map(len, column)) for column in columns]
        lines = ["  ".join(cell.rjust(w) if right else cell.ljust(w) for cell, w, right in zip(row, widths, numeric))
                 for row in zip(*columns)]
        return "\n".join(line.rstrip() for line in [*([self.title] if self.title else []), *lines, *self.notes])

    __str__ = text


def spell(value):
    """One cell: 1,234 and 7 x 7; None is a dash."""
    if value is None:
        return "-"
    if isinstance(value, tuple | list):
        return " x ".join(map(spell, value))
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)
