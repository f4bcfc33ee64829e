"""Published tables, benchmarks, statistics, verdict, audit and report."""
