"""What a map is worth: functions of maps, object masks and a scoring callable. Knows torch only.

A value that does not exist (no object to compare with, no energy to share out) is NaN here and null in the tables.
"""
