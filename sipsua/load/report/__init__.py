"""What is left of a load run when it is over: the files that people and programs read. Made from `Results.as_json()` and nothing else."""
