"""Stories by date, written as files and told to an installation through its API."""
