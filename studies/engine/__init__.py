"""How a study is run: validated, proposed, scheduled, recorded."""
