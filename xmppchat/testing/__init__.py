"""For tests: transcripts of who sends and who receives what, and the drivers that run them."""
