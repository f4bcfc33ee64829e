"""The report page, drawn from verdict.json alone."""
