"""Tests of studies.engine.ledger."""
