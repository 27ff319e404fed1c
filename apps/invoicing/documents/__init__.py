"""Documents as people see them: one page of HTML, and the same page as PDF."""
