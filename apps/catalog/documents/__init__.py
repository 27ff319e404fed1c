"""Plans and catalogs as callers write them. Pure."""
