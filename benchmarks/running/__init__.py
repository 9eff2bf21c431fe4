"""Many models on many tasks: in turn, in processes, on a Dask cluster."""
