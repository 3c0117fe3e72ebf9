"""Coverage-guided fuzzing of untrusted input: ``make fuzz``. The tests run each target's seeds, too."""
