"""How far claims reach: which are confirmatory, and whether other images bear them out."""
