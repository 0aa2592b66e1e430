"""The stores of runs and of ledgers: servers, databases and SQLite files, told apart and opened with care."""
