"""What we intend: target, dialect, scenario, plan. Pure: no files, no environment, no sockets."""
