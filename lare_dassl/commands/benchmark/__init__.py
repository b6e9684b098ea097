"""Many runs by one command: what is to run, the encoding that the runs share, and the runs themselves side by side."""
