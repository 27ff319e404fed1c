"""Django's PostgreSQL backend, which handles many rows in one statement several times as fast.

Such a statement takes its columns, or the ids it asks for, as arrays; and most rows have instants.
Converting all of them in Python one by one took more time than the statements themselves.
"""
