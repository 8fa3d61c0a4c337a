"""The benchmarks: one file a job, each also run alone: `python -m bench.backlog --help`, from tests/.

The jobs:             backlog  the peers on 2,000 messages that wait
                      later    the peers on a mailbox of 2,000 messages that they know
                      known    a mailbox that mailsyncd knows, of up to 100,000
                      push     one new message, how soon
                      routes   1 to 1,000 routes that wait for mail
                      sizes    the peers on one message, of 1 KB to 145 MB
                      state    requests and units of DynamoDB
                      where    profiles of the hot paths, by area, of
                      profiled the program under cProfile

What they share:      corpus   the seeded mail
                      servers  two Dovecots on tmpfs, mailboxes made by copying a template
                      sims     a simulated source in this process, its children the daemon and
                      outlook  the simulated destination
                      tls      the certificate of both
                      lateness of the simulated source
                      engine   a DynamoDB of our own
                      meter    a proxy in front of it that adds up the bill
                      line     a TCP line with a round-trip time, its own process
                      child    a process, and what it took of time, CPU and memory
                      daemon   mailsyncd's configuration and command line
                      peers    the same for mbsync and imapfilter, and for
                      raw      the limit: FETCH into APPEND, without state
                      raw_push the same for new mail

What comes of them:   results  docs/benchmarks/results.json
                      targets  what was aimed at, beside it
                      report   docs/benchmarks.md, of
                      sections one for each job, with pictures by
                      plot     SVG, and PNG where rsvg-convert is installed
"""
