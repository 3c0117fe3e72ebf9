"""Event handlers: functions of the scheduler's state, one event and the time."""
