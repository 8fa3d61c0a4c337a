"""The benchmarks: one file a job, each also run alone: `python -m bench.backlog --help`, from tests/.

What the jobs share:  corpus   the seeded mail
                      servers  two Dovecots on tmpfs, mailboxes made by copying a template
                      engine   a DynamoDB of our own
                      line     a TCP line with a round-trip time, its own process
                      child    a process, and what it took of time, CPU and memory
                      daemon   mailsyncd's configuration and command line
                      peers    the same for mbsync and imapfilter, and for
                      raw      the limit: FETCH into APPEND, without state
                      results  docs/benchmarks/results.json
                      report   from there to docs/benchmarks.md and its plots
"""
