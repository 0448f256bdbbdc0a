"""A study as documents by path: what the studio, the report in one file and a notebook show."""
