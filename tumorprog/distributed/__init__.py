"""All code that runs on Ray: connecting, streaming shards, training workers, sweeps, nodes and jobs."""
