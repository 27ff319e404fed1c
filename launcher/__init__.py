"""Starts and stops what Countinghouse needs on one machine; knows nothing of Django."""
