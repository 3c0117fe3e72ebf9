"""The page for people: its files, sign-in, and what it shows live. Served by the admin side."""
