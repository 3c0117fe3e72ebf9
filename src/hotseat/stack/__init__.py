"""The Compose stack around hotseat: its files read, checked, set up and switched."""
