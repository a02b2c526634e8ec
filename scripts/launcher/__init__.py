"""What Snakemake needs to know of a study before its first job."""
