"""What an export costs and leaves: seconds, memory, megabytes, and the speed of a model that is cut unevenly."""
