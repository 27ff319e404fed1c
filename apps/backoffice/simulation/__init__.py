"""Months of billing in virtual time, judged at the end by arithmetic that the product knows nothing of."""
