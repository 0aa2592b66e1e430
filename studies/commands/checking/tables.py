"""Tables in a terminal."""

from rich.table import Table


def plain_table(*titles: str) -> Table:
    """A table without lines, whose columns fold what is too long for them."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for title in titles:
        table.add_column(title, overflow="fold")
    return table
