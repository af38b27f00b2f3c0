"""Reports: what they hold (`report.py`), one module a format, and what is looked at and listened to."""
