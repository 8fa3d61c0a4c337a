"""The status page and the metrics over HTTP, for whoever may look and for nobody else.

server.py speaks HTTP, guard.py says who gets an answer, answers.py has the answers, public.py is what of a
status may be shown, page/ is what a browser gets. Nothing here is imported before somebody calls.
"""
