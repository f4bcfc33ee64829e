"""While it runs: status and logs."""
