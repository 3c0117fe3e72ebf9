"""The one owner of the scheduler: effects become tasks, and what they find out becomes events."""
