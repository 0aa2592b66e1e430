"""Tests of search_spaces.language."""
