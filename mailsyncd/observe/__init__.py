"""How the daemon is seen from outside: logs, the status socket, systemd. Nothing here decides."""
