"""Training on own data: cases, views, batches, the run and its validation."""
