"""What should have been billed, reckoned from the raw facts the long way round.

Nothing here is shared with ``rating``, ``metering`` or ``invoicing``: calendars are walked day by
day, tiers one by one, every event is looked at for every line, and numbers are fractions. It is
slow and plain on purpose, so that a mistake of the product is not made a second time.
"""
