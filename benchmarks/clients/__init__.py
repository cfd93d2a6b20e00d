"""The clients under measurement, one module each, all run by `benchmarks.clients.job`."""
