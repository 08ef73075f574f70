"""Where work runs: tables (DuckDB or Spark), the ledger (SQLite or PostgreSQL), the event log, jobs, training."""
