"""Tests of the load generator and of the server launchers: `.venv/bin/python -m pytest bench`."""
