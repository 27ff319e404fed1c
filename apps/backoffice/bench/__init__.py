"""Measuring the installation: what it does per second, and how near that is to what it could.

Machines differ and so does what else they do, so every figure that counts is a ratio of two things
measured in turns in one run: what the product does, and the physical limit of the same database or
web server. ``manage.py bench`` prints them; ``docs/performance.md`` keeps them.
"""
