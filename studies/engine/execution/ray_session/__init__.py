"""The connection to Ray: started or found, watched while a study runs, and ended in order even where Ray is gone."""
