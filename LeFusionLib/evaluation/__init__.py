"""What results are worth: the picture of one, and measurements over many."""
