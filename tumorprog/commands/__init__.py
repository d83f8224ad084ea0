"""The commands of the command line: what each is called, takes and shows, and what it calls; no heavy imports."""
