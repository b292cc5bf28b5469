DROP INDEX jobs_due;
CREATE INDEX jobs_due ON jobs (lease_until, run_at, kind);
