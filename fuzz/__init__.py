"""Coverage-guided fuzzing of what strangers send: ``make fuzz``. The targets are tried in tests, too."""
