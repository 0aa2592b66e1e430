"""Parts of a recipe that stand for themselves: the fields of one theme each, with their rules."""
