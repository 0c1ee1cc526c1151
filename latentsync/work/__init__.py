"""What long work needs whatever its subject: workers, progress, stopping, reading ahead, whole files, records."""
