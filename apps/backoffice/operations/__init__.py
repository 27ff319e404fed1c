"""What the desk itself writes."""
