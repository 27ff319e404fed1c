"""The demo company: half a year of a business that never was, told by the operations."""
