"""The jobs: a lesion drawn, tissue made inside it, painted back, reported."""
