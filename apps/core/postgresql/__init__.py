"""Django's PostgreSQL backend, which writes lists and reads instants several times as fast.

Every statement on many rows takes its columns as arrays, and most rows have instants: converting
them in Python, one by one, took more time than the statements themselves.
"""
